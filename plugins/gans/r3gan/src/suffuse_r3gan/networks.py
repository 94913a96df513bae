"""The generator and the discriminator of configuration E."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from suffuse_wgan.latents import Gaussian, dim_of
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Generator, Latent
from suffuse.contracts.network import Critic, check_labels
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput, SpecError
from suffuse.rng import Rng
from suffuse.state import State
from suffuse_r3gan.layers import Block, Down, FromBasis, ToBasis, Up, conv, linear, one_hot

__all__ = ["R3Discriminator", "R3Generator"]


def _counts(values: tuple[int, ...]) -> str | None:
    return None if values and all(v >= 1 for v in values) else f"expected whole numbers of at least 1, got {values!r}"


def _agree(widths: tuple[int, ...], cardinalities: tuple[int, ...], expansion: int) -> None:
    if len(widths) != len(cardinalities):
        raise SpecError(f"widths and cardinalities must be as many, got {len(widths)} and {len(cardinalities)}")
    for width, groups in zip(widths, cardinalities, strict=True):
        if width * expansion % groups:
            raise SpecError(f"the cardinality must divide {expansion} times the width {width}, got {groups}")


@module
class R3Generator(Generator):
    """From a latent vector to images of side ``4 * 2^(stages - 1)``, one residual stage at each resolution.

    Huang et al., 2024, arXiv:2501.05441, section 3 and appendix: ``FromBasis`` and blocks at 4x4, then ``Up`` and
    blocks at each resolution, then a 1x1 convolution without a nonlinearity. A label's linear embedding, as long as
    the latent, is appended to it; an absent label is zeros. The defaults are those of CIFAR-10.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    latent: Latent = setting(factory=lambda: Gaussian(dim=64), doc="the law of the latent vectors")
    channels: int = setting(3, "channels of an image", ge=1)
    widths: tuple[int, ...] = setting((768, 768, 768, 768), "channels of the stages, from 4x4 up", check=_counts)
    cardinalities: tuple[int, ...] = setting((96, 96, 96, 96), "groups of the 3x3 convolutions", check=_counts)
    blocks: int = setting(2, "residual blocks of a stage", ge=1)
    expansion: int = setting(2, "width inside a block, in widths of its stage", ge=1)
    classes: int = setting(0, "labels; 0 for an unconditional generator", ge=0)

    def __attrs_post_init__(self) -> None:
        _agree(self.widths, self.cardinalities, self.expansion)
        dim, total = dim_of(self.latent), self.blocks * len(self.widths)
        self.labels = linear(self.classes, dim) if self.classes else None
        entries = [
            FromBasis(2 * dim if self.classes else dim, self.widths[0]),
            *(Up(a, b) for a, b in pairwise(self.widths)),
        ]
        layers: list[nn.Module] = []
        for entry, width, groups in zip(entries, self.widths, self.cardinalities, strict=True):
            layers += [entry, *(Block(width, self.expansion, groups, total) for _ in range(self.blocks))]
        self.layers = nn.Sequential(*layers, conv(self.widths[-1], self.channels))

    @property
    def gives(self) -> frozenset[str]:
        """``generator``, and ``conditional`` where there are classes."""
        return frozenset({"generator", "conditional"} if self.classes else {"generator"})

    def check(self, cond: Condition) -> None:
        """A label, where there are classes."""
        check_labels(cond, self.classes)

    def forward(self, z: State, cond: Condition, *, rng: Rng | None = None) -> Tensor:
        """``(B, channels, side, side)``. Raises ``InvalidInput`` for latents of another size."""
        dim = dim_of(self.latent)
        if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] != dim:
            raise InvalidInput(f"expected latents (batch, {dim}), got {getattr(z, 'shape', type(z).__name__)}")
        if self.labels is not None:
            z = torch.cat([z, self.labels(one_hot(cond, self.classes, z))], dim=1)
        x: Tensor = self.layers(z)
        return x


@module
class R3Discriminator(Critic):
    """The generator's mirror image, with ``Down`` and ``ToBasis``; settings are in the generator's order, from 4x4 up.

    With classes the output is the inner product of a vector as long as the 4x4 stage is wide with the label's linear
    embedding, scaled to unit variance: 0 where the label is absent.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    channels: int = setting(3, "channels of an image", ge=1)
    widths: tuple[int, ...] = setting((768, 768, 768, 768), "channels of the stages, from 4x4 up", check=_counts)
    cardinalities: tuple[int, ...] = setting((96, 96, 96, 96), "groups of the 3x3 convolutions", check=_counts)
    blocks: int = setting(2, "residual blocks of a stage", ge=1)
    expansion: int = setting(2, "width inside a block, in widths of its stage", ge=1)
    classes: int = setting(0, "labels; 0 for an unconditional discriminator", ge=0)

    def __attrs_post_init__(self) -> None:
        _agree(self.widths, self.cardinalities, self.expansion)
        widths, total = self.widths[::-1], self.blocks * len(self.widths)
        outputs = widths[-1] if self.classes else 1
        self.labels = linear(self.classes, outputs, gain=1 / math.sqrt(outputs)) if self.classes else None
        exits = [*(Down(a, b) for a, b in pairwise(widths)), ToBasis(widths[-1], outputs)]
        layers: list[nn.Module] = []
        for way_out, width, groups in zip(exits, widths, self.cardinalities[::-1], strict=True):
            layers += [*(Block(width, self.expansion, groups, total) for _ in range(self.blocks)), way_out]
        self.layers = nn.Sequential(conv(self.channels, widths[0]), *layers)

    @property
    def gives(self) -> frozenset[str]:
        """``conditional`` where there are classes."""
        return frozenset({"conditional"} if self.classes else ())

    def check(self, cond: Condition) -> None:
        """A label, where there are classes."""
        check_labels(cond, self.classes)

    def forward(self, x: State, cond: Condition) -> Tensor:
        """``(B,)``. Raises ``InvalidInput`` for images of another shape."""
        side = 4 * 2 ** (len(self.widths) - 1)
        shape = (self.channels, side, side)
        if not isinstance(x, Tensor) or tuple(x.shape[1:]) != shape:
            expected = ", ".join(map(str, shape))
            raise InvalidInput(f"expected images (batch, {expected}), got {getattr(x, 'shape', type(x).__name__)}")
        vector: Tensor = self.layers(x)
        if self.labels is None:
            return vector[:, 0]
        return (vector * self.labels(one_hot(cond, self.classes, vector))).sum(1)
