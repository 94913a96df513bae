"""How good digits are: as a set, and one by one."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from torch import Tensor

from suffuse.contracts.network import Encoder
from suffuse.contracts.part import setting
from suffuse.contracts.task import Example, Metric
from suffuse.errors import InvalidInput, Unsupported
from suffuse_digits.classifier import Classifier
from suffuse_digits.frechet import fitted_distance

__all__ = ["Accuracy", "Frechet"]


@attrs.frozen(kw_only=True)
class Frechet(Metric):
    """The Fréchet distance between an encoder's features of samples and of reference data; lower is better.

    The digits' analogue of the FID. Finite sets have a floor above zero: see ``fitted_distance``.
    """

    encoder: Encoder = setting(factory=Classifier, doc="whose features are compared")

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``frechet``. Raises ``InvalidInput`` for fewer than two rows on a side, or values that are not finite."""
        x, y = (self.encoder(_data(e)).whole for e in (samples, reference))
        return {"frechet": float(fitted_distance(x, y))}


@attrs.frozen(kw_only=True)
class Accuracy(Metric):
    """The share of samples in which an encoder with logits reads the label that was asked for; higher is better."""

    encoder: Encoder = setting(factory=Classifier, doc="what reads the labels")

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``accuracy``; the reference is not used. Raises ``InvalidInput`` for samples without a ``label``."""
        if "label" not in samples.cond:
            raise InvalidInput(f"expected samples with a label, got a condition on {sorted(samples.cond)}")
        logits = self.encoder(_data(samples)).logits
        if logits is None:
            raise Unsupported(f"{type(self.encoder).__name__} gives features but no logits")
        right = logits.argmax(1) == samples.cond["label"].to(logits.device)
        return {"accuracy": float(right.double().mean())}


def _data(example: Example) -> Tensor:
    if not isinstance(example.x, Tensor) or not bool(example.x.isfinite().all()):
        raise InvalidInput("expected one tensor of finite data")
    return example.x
