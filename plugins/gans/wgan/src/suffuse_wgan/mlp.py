"""A generator and a critic without convolutions."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Generator, Latent
from suffuse.contracts.network import Critic, check_labels
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State
from suffuse_wgan.latents import Gaussian, dim_of

__all__ = ["Layers", "MlpCritic", "MlpGenerator"]


def _sizes(shape: tuple[int, ...]) -> str | None:
    good = isinstance(shape, tuple | list) and len(shape) > 0 and min(shape) >= 1
    return None if good else f"expected sizes of at least 1, such as (2,), got {shape!r}"


class Layers(nn.Module):
    """``depth`` hidden layers with rectifiers; a label's vector is added before the first of them."""

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, slope: float, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.first = nn.Linear(inputs, width)
        self.labels = nn.Embedding(classes + 1, width) if classes else None
        hidden = [m for _ in range(depth - 1) for m in (nn.LeakyReLU(slope), nn.Linear(width, width))]
        self.rest = nn.Sequential(*hidden, nn.LeakyReLU(slope), nn.Linear(width, outputs))

    def forward(self, x: Tensor, cond: Condition) -> Tensor:
        """``(B, inputs)`` to ``(B, outputs)``; an absent label has a row of its own."""
        h = self.first(x)
        if self.labels is not None:
            null = torch.full((len(x),), self.classes, device=x.device)
            at = torch.where(cond.present("label"), cond["label"], null) if "label" in cond else null
            h = h + self.labels(at)
        out: Tensor = self.rest(h)
        return out


@module
class MlpGenerator(Generator):
    """A perceptron from latent vectors ``(B, dim)`` to states ``(B, *shape)``.

    The defaults are the generator without convolutions of section 4.3: four layers, 512 units, ReLU, a linear output.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    latent: Latent = setting(factory=Gaussian, doc="the law of the latent vectors")
    shape: tuple[int, ...] = setting((3, 64, 64), "shape of a state", check=_sizes)
    width: int = setting(512, "hidden units", ge=1)
    depth: int = setting(3, "hidden layers", ge=1)
    slope: float = setting(0.0, "slope of the rectifiers below zero", ge=0, le=1)
    output: Literal["linear", "tanh"] = setting("linear", "last nonlinearity", choices=("linear", "tanh"))
    classes: int = setting(0, "labels; 0 for an unconditional generator", ge=0)

    def __attrs_post_init__(self) -> None:
        dim, out = dim_of(self.latent), math.prod(self.shape)
        self.layers = Layers(dim, out, self.width, self.depth, self.slope, self.classes)

    @property
    def gives(self) -> frozenset[str]:
        """``generator``, and ``conditional`` where there are classes."""
        return frozenset({"generator", "conditional"} if self.classes else {"generator"})

    def check(self, cond: Condition) -> None:
        """A label, where there are classes."""
        check_labels(cond, self.classes)

    def forward(self, z: State, cond: Condition, *, rng: Rng | None = None) -> Tensor:
        """``(B, *shape)``. Raises ``InvalidInput`` for latents of another size."""
        dim = self.layers.first.in_features
        if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] != dim:
            raise InvalidInput(f"expected latents (batch, {dim}), got {getattr(z, 'shape', type(z).__name__)}")
        x = self.layers(z, cond).reshape(len(z), *self.shape)
        return x.tanh() if self.output == "tanh" else x


@module
class MlpCritic(Critic):
    """A perceptron from states ``(B, *shape)`` to numbers ``(B,)``; the defaults are section 4.3's, as above."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    shape: tuple[int, ...] = setting((3, 64, 64), "shape of a state", check=_sizes)
    width: int = setting(512, "hidden units", ge=1)
    depth: int = setting(3, "hidden layers", ge=1)
    slope: float = setting(0.0, "slope of the rectifiers below zero", ge=0, le=1)
    classes: int = setting(0, "labels; 0 for an unconditional critic", ge=0)

    def __attrs_post_init__(self) -> None:
        self.layers = Layers(math.prod(self.shape), 1, self.width, self.depth, self.slope, self.classes)

    @property
    def gives(self) -> frozenset[str]:
        """``conditional`` where there are classes."""
        return frozenset({"conditional"} if self.classes else ())

    def check(self, cond: Condition) -> None:
        """A label, where there are classes."""
        check_labels(cond, self.classes)

    def forward(self, x: State, cond: Condition) -> Tensor:
        """``(B,)``. Raises ``InvalidInput`` for states of another shape."""
        if not isinstance(x, Tensor) or tuple(x.shape[1:]) != tuple(self.shape):
            expected = ", ".join(map(str, self.shape))
            raise InvalidInput(f"expected states (batch, {expected}), got {getattr(x, 'shape', type(x).__name__)}")
        scores: Tensor = self.layers(x.flatten(1), cond)[:, 0]
        return scores
