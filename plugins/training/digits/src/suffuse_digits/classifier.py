"""A small convolutional network that reads digits: the metrics' eyes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.network import Embedding, Encoder
from suffuse.contracts.part import setting
from suffuse.errors import InvalidInput, SpecError

__all__ = ["WEIGHTS", "Classifier", "shipped"]

WEIGHTS = Path(__file__).parent / "weights" / "classifier.safetensors"


@attrs.define(eq=False, slots=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class Classifier(Encoder):
    """Three convolutions, two of them followed by pooling, 64 features and 10 logits; about 40 000 weights.

    Takes data ``(B, 1, 8, 8)`` in [0, 16]. ``trained`` brings the weights of ``recipes.train_classifier``, which come
    with this package, frozen and in evaluation mode; otherwise weights are random.
    """

    width: int = setting(16, "channels of the first layer", ge=1)
    trained: bool = setting(True, "the weights that come with this package, for width=16")

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def __attrs_post_init__(self) -> None:
        w = self.width
        self.body = nn.Sequential(
            *(nn.Conv2d(1, w, 3, padding=1), nn.BatchNorm2d(w), nn.ReLU()),
            *(nn.Conv2d(w, 2 * w, 3, padding=1), nn.BatchNorm2d(2 * w), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(2 * w, 4 * w, 3, padding=1), nn.BatchNorm2d(4 * w), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(16 * w, 64), nn.ReLU()),
        )
        self.head = nn.Linear(64, 10)
        if self.trained:
            if w != 16:
                raise SpecError(f"the trained weights are for width=16, got width={w}: give trained=False")
            self.load_state_dict(_weights())
            self.requires_grad_(False).eval()

    def forward(self, data: Tensor) -> Embedding:
        """Features ``(B, 64)``, non-negative, and logits ``(B, 10)``. Raises ``InvalidInput`` for another shape."""
        if data.ndim != 4 or tuple(data.shape[1:]) != (1, 8, 8):
            raise InvalidInput(f"expected digits (batch, 1, 8, 8) in [0, 16], got shape {tuple(data.shape)}")
        features = self.body(data.to(self.head.weight.dtype) / 8 - 1)
        return Embedding(whole=features, logits=self.head(features))


@cache
def _weights() -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return cast("dict[str, Tensor]", load_file(str(WEIGHTS)))


@cache
def shipped() -> Classifier:
    """The trained classifier, made once."""
    with torch.random.fork_rng(devices=[]):
        return Classifier()
