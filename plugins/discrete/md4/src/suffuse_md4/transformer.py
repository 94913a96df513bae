"""A bidirectional transformer of tokens."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from suffuse_dit.blocks import Block, Final, NoiseEmbedding
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone, check_labels
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput, SpecError

__all__ = ["Transformer"]


def _sizes(shape: tuple[int, ...]) -> str | None:
    good = isinstance(shape, tuple | list) and len(shape) > 0 and min(shape) >= 1
    return None if good else f"expected sizes of at least 1, such as (256,), got {shape!r}"


@module
class Transformer(Backbone):
    """Embedded tokens with learned positions, blocks that see all of them, steered by time and label (adaLN-Zero).

    ``x (B, *shape)`` integers in [0, states), ``c_noise (B,)``; logits ``(B, *shape, symbols)``, exactly zero at
    initialisation. The blocks are those of ``dit/dit``. With ``classes`` there is one embedding more, for rows whose
    label is absent. The defaults are the sizes of the paper's text8 network (Shi et al. 2024, arXiv:2406.04329).

    Blocks ``block0``, ``block1``, ...: ``(B, N, width)`` and c ``(B, width)`` to tokens.

    Raises ``SpecError`` for a width that heads do not divide, ``InvalidInput`` for a state of another shape or with
    other than integers.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    symbols: int = setting(doc="K, classes of the output", ge=2)
    shape: tuple[int, ...] = setting((256,), "shape of a state", check=_sizes)
    extra: int = setting(1, "symbols that states have beyond K: 1 for the mask", ge=0)
    width: int = setting(768, "length of a token's vector", ge=1)
    depth: int = setting(12, "number of blocks", ge=1)
    heads: int = setting(12, "attention heads", ge=1)
    mlp_ratio: float = setting(4.0, "hidden units of a block's network, in widths", gt=0)
    classes: int = setting(0, "number of labels; 0 is unconditional", ge=0)

    def __attrs_post_init__(self) -> None:
        if self.width % self.heads:
            raise SpecError(f"width must be divisible by heads={self.heads}, got {self.width}")
        self.embed = nn.Embedding(self.states, self.width)
        self.positions = nn.Parameter(torch.empty(math.prod(self.shape), self.width))
        self.noise = NoiseEmbedding(self.width)
        self.labels = nn.Embedding(self.classes + 1, self.width) if self.classes else None
        hidden = int(self.width * self.mlp_ratio)
        self.blocks = nn.ModuleDict({f"block{i}": Block(self.width, self.heads, hidden) for i in range(self.depth)})
        self.final = Final(self.width, self.symbols)
        for table in (self.embed.weight, self.positions):
            nn.init.normal_(table, std=0.02)
        for linear in (*(b.modulation[1] for b in self.blocks.values()), self.final.modulation[1], self.final.linear):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    @property
    def states(self) -> int:
        """The alphabet of the input."""
        return self.symbols + self.extra

    @property
    def gives(self) -> frozenset[str]:
        """``conditional``, where there are classes."""
        return frozenset({"conditional"}) if self.classes else frozenset()

    def check(self, cond: Condition) -> None:
        """Labels of the known classes, or nothing."""
        check_labels(cond, self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The logits."""
        if tuple(x.shape[1:]) != tuple(self.shape) or x.is_floating_point() or c_noise.shape != x.shape[:1]:
            raise InvalidInput(
                f"expected integers of shape (batch, {', '.join(map(str, self.shape))}) and c_noise (batch,), "
                f"got {x.dtype} {tuple(x.shape)} and {tuple(c_noise.shape)}"
            )
        c = self.noise(c_noise)
        if self.labels is not None:
            c = c + self.labels(self._rows_of(cond, x))
        h = self.embed(x.flatten(1)) + self.positions
        for name in self.blocks:
            h = self.run(name, h, c)
        out: Tensor = self.final(h, c)
        return out.unflatten(1, self.shape)

    def _rows_of(self, cond: Condition, x: Tensor) -> Tensor:
        if "label" not in cond:
            return torch.full((len(x),), self.classes, device=x.device)
        return torch.where(cond.present("label"), cond["label"], self.classes)
