"""What U-Net and classifier have in common: their settings, checked, and the way down."""

from __future__ import annotations

from typing import Literal

import attrs
import torch
from suffuse_ddpm.layers import Sequence
from torch import Tensor, nn

from suffuse.contracts.network import Backbone
from suffuse.errors import InvalidInput, SpecError
from suffuse_adm.layers import Attention, Downsample, Residual, Upsample, Way, sinusoids

__all__ = ["Embedder", "Plan", "descend", "inputs_checked"]


@attrs.frozen(kw_only=True)
class Plan:
    """The widths and blocks of a network; ``SpecError`` for settings that do not fit each other."""

    width: int
    multipliers: tuple[float, ...]
    depth: int
    attention: tuple[int, ...]
    head_width: int
    heads: int | None
    groups: int
    dropout: float
    scale_shift: bool
    resample: Literal["residual", "conv"]
    rescale: bool

    @classmethod
    def of(cls, network: object) -> Plan:
        """The plan of a network that has these settings."""
        return cls(**{a.name: getattr(network, a.name) for a in attrs.fields(cls)})

    def __attrs_post_init__(self) -> None:
        if not self.multipliers or min(self.multipliers) <= 0:
            raise SpecError(f"multipliers must be positive numbers, at least one, got {self.multipliers}")
        if any(width % self.groups or not width for width in (self.width, *self.widths)):
            raise SpecError(f"groups={self.groups} must divide every width, got {(self.width, *self.widths)}")
        if self.width % 2:
            raise SpecError(f"width must be even, got {self.width}")
        if not all(0 <= i < len(self.widths) for i in self.attention):
            raise SpecError(f"attention must name levels from 0 to {len(self.widths) - 1}, got {self.attention}")
        for width in {*(self.widths[i] for i in self.attention), self.widths[-1]}:
            if width % (self.heads or self.head_width):
                told = f"heads={self.heads}" if self.heads else f"head_width={self.head_width}"
                raise SpecError(f"{told} must divide the width of every level with attention, got {width}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Of each level."""
        return tuple(int(m * self.width) for m in self.multipliers)

    def heads_of(self, width: int) -> int:
        """The number of attention heads at this width."""
        return self.heads or width // self.head_width

    def residual(self, inputs: int, outputs: int, way: Way = "same") -> Residual:
        """One residual block."""
        told = {"way": way, "scale_shift": self.scale_shift, "rescale": self.rescale}
        return Residual(inputs, outputs, 4 * self.width, self.groups, self.dropout, **told)  # type: ignore[arg-type]

    def block(self, level: int, inputs: int) -> Sequence:
        """A residual block, and attention where this level has it."""
        layers: list[nn.Module] = [self.residual(inputs, self.widths[level])]
        if level in self.attention:
            layers.append(self.attend(self.widths[level]))
        return Sequence(*layers)

    def attend(self, width: int) -> Attention:
        """Self-attention."""
        return Attention(width, self.heads_of(width), self.groups)

    def resampling(self, width: int, way: Literal["up", "down"]) -> nn.Module:
        """Between levels."""
        if self.resample == "residual":
            return self.residual(width, width, way)
        return Upsample(width) if way == "up" else Downsample(width)

    def way_down(self, blocks: nn.ModuleDict) -> list[int]:
        """Add the blocks of all levels and the middle; gives the widths that ``descend`` keeps."""
        width = self.widths[0]
        kept = [width]
        for i, wide in enumerate(self.widths):
            for j in range(self.depth):
                blocks[f"down_{i}_{j}"] = self.block(i, width)
                width = wide
                kept.append(width)
            if i + 1 < len(self.widths):
                blocks[f"downsample_{i}"] = self.resampling(width, "down")
                kept.append(width)
        blocks["middle"] = Sequence(self.residual(width, width), self.attend(width), self.residual(width, width))
        return kept


def descend(network: Backbone, plan: Plan, h: Tensor, embedding: Tensor) -> list[Tensor]:
    """All that goes down, the first convolution's output included, and the middle's output last."""
    kept = [h]
    for i in range(len(plan.widths)):
        for j in range(plan.depth):
            kept.append(network.run(f"down_{i}_{j}", kept[-1], embedding))
        if i + 1 < len(plan.widths):
            kept.append(network.run(f"downsample_{i}", kept[-1], embedding))
    return [*kept, network.run("middle", kept[-1], embedding)]


class Embedder(nn.Module):
    """Of the noise level: sinusoids and two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))

    def forward(self, c_noise: Tensor, dtype: torch.dtype) -> Tensor:
        """``(B,)`` to ``(B, 4 width)``."""
        out: Tensor = self.layers(sinusoids(c_noise, self.width).to(dtype))
        return out


def inputs_checked(x: Tensor, c_noise: Tensor, channels: int, sides: str, good: bool) -> None:
    """Raise ``InvalidInput`` unless x is ``(batch, channels, H, W)`` with sides that are ``good``."""
    if x.ndim != 4 or x.shape[1] != channels or not good or not x.shape[2] or not x.shape[3]:
        raise InvalidInput(f"expected (batch, {channels}, H, W) with {sides}, got {tuple(x.shape)}")
    if c_noise.shape != x.shape[:1]:
        raise InvalidInput(f"expected c_noise of shape ({len(x)},), got {tuple(c_noise.shape)}")
