"""The U-Net of DDPM."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone, check_labels
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput, SpecError
from suffuse_ddpm.layers import Attention, Downsample, Residual, Sequence, Upsample, conv, linear, normalize, sinusoids

__all__ = ["UNet"]


def _counts(values: tuple[int, ...]) -> str | None:
    return None if values and all(v >= 1 for v in values) else f"expected whole numbers of at least 1, got {values}"


@module
class UNet(Backbone):
    """Wide ResNet blocks with GroupNorm, self-attention at some levels, the noise level added in every block.

    Ho et al., Denoising Diffusion Probabilistic Models, 2020, arXiv:2006.11239, appendix B. The defaults are the
    CIFAR-10 network with its 35.7M parameters; for 256x256 images ``multipliers=(1, 1, 2, 2, 4, 4)`` and
    ``attention=(4,)``; for 8x8 digits ``channels=1, width=32, multipliers=(1, 2), attention=(1,)``.

    x is ``(B, channels, H, W)`` with H and W divisible by ``2 ** (levels - 1)``. The embedding of c_noise is made in
    float32 whatever the weights are. With ``classes`` a label's embedding is added to it; an absent label has a row
    of its own. Blocks: ``down_i_j``, ``downsample_i``, ``middle``, ``up_i_j``, ``upsample_i`` (level i, block j), each
    called with ``(x, embedding)`` but for the resampling ones, ``(x)``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    channels: int = setting(3, "channels of a state", ge=1)
    width: int = setting(128, "channels of the first level; a multiple of 4", ge=4)
    multipliers: tuple[int, ...] = setting((1, 2, 2, 2), "width of each level, in units of width", check=_counts)
    depth: int = setting(2, "residual blocks of each level; one more on the way up", ge=1)
    attention: tuple[int, ...] = setting((1,), "levels with self-attention; level i has sides H/2^i")
    heads: int = setting(1, "attention heads", ge=1)
    groups: int = setting(32, "groups of GroupNorm, fewer where a group would have less than 4 channels", ge=1)
    dropout: float = setting(0.1, "dropout inside the residual blocks, in training", ge=0, lt=1)
    classes: int = setting(0, "labels 0 ... classes - 1; 0 for an unconditional network", ge=0)
    outputs: int | None = setting(None, "channels of the output; by default those of the state", ge=1)

    def __attrs_post_init__(self) -> None:
        levels = len(self.multipliers)
        if self.width % 4:
            raise SpecError(f"width must be a multiple of 4, got {self.width}")
        if self.width % self.heads:
            raise SpecError(f"width must be a multiple of heads, got width={self.width}, heads={self.heads}")
        if not all(0 <= i < levels for i in self.attention):
            raise SpecError(f"attention must name levels from 0 to {levels - 1}, got {self.attention}")
        embedding = 4 * self.width
        self.embed = nn.Sequential(linear(self.width, embedding), nn.SiLU(), linear(embedding, embedding))
        if self.classes:
            self.labels = nn.Embedding(self.classes + 1, embedding)
        self.first = conv(self.channels, self.width, 3)
        self.blocks = nn.ModuleDict()
        width, skips = self.width, [self.width]
        for i, multiplier in enumerate(self.multipliers):
            for j in range(self.depth):
                self.blocks[f"down_{i}_{j}"] = self._block(i, width)
                width = self.width * multiplier
                skips.append(width)
            if i + 1 < levels:
                self.blocks[f"downsample_{i}"] = Downsample(width)
                skips.append(width)
        residual = partial(Residual, width, width, embedding, self.groups, self.dropout)
        self.blocks["middle"] = Sequence(residual(), Attention(width, self.heads, self.groups), residual())
        for i, multiplier in reversed(list(enumerate(self.multipliers))):
            for j in range(self.depth + 1):
                self.blocks[f"up_{i}_{j}"] = self._block(i, width + skips.pop())
                width = self.width * multiplier
            if i:
                self.blocks[f"upsample_{i}"] = Upsample(width)
        self.normalize = normalize(width, self.groups)
        self.last = conv(width, self.outputs or self.channels, 3, zero=True)

    @property
    def gives(self) -> frozenset[str]:
        """``conditional`` where there are classes."""
        return frozenset({"conditional"} if self.classes else ())

    def check(self, cond: Condition) -> None:
        """A label, where there are classes."""
        check_labels(cond, self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """``(B, outputs, H, W)``. Raises ``InvalidInput`` for a wrong number of channels or sides that do not halve."""
        levels = len(self.multipliers)
        if x.ndim != 4 or x.shape[1] != self.channels or any(n % 2 ** (levels - 1) or not n for n in x.shape[2:]):
            raise InvalidInput(
                f"expected (batch, {self.channels}, H, W) with H and W divisible by {2 ** (levels - 1)}, "
                f"got {tuple(x.shape)}"
            )
        if c_noise.shape != x.shape[:1]:
            raise InvalidInput(f"expected c_noise of shape ({len(x)},), got {tuple(c_noise.shape)}")
        embedding = self.embed(sinusoids(c_noise, self.width).to(x.dtype))
        if self.classes:
            embedding = embedding + self.labels(self._label(cond, len(x), x.device))
        h = self.first(x)
        kept = [h]
        for i in range(levels):
            for j in range(self.depth):
                h = self.run(f"down_{i}_{j}", h, embedding)
                kept.append(h)
            if i + 1 < levels:
                h = self.run(f"downsample_{i}", h)
                kept.append(h)
        h = self.run("middle", h, embedding)
        for i in reversed(range(levels)):
            for j in range(self.depth + 1):
                h = self.run(f"up_{i}_{j}", torch.cat([h, kept.pop()], dim=1), embedding)
            if i:
                h = self.run(f"upsample_{i}", h)
        return self.last(F.silu(self.normalize(h)))

    def _block(self, level: int, inputs: int) -> Sequence:
        outputs = self.width * self.multipliers[level]
        layers: list[nn.Module] = [Residual(inputs, outputs, 4 * self.width, self.groups, self.dropout)]
        if level in self.attention:
            layers.append(Attention(outputs, self.heads, self.groups))
        return Sequence(*layers)

    def _label(self, cond: Condition, n: int, device: torch.device) -> Tensor:
        if "label" not in cond:
            return torch.full((n,), self.classes, dtype=torch.long, device=device)
        return torch.where(cond.present("label"), cond["label"].long(), self.classes)
