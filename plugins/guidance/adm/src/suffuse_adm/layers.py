"""The layers of ADM's U-Net, with torch's initial weights and zero last layers, as published."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "AttentionPool", "Downsample", "Residual", "Upsample", "Way", "sinusoids", "zero"]

Way = Literal["same", "up", "down"]


def sinusoids(c_noise: Tensor, width: int) -> Tensor:
    """``[cos(c w_k), sin(c w_k)]``, ``w_k = 10000^(-2k/width)``: ``(B,)`` to ``(B, width)``, float32 or more."""
    c = c_noise.to(torch.promote_types(c_noise.dtype, torch.float32))
    k = torch.arange(width // 2, dtype=c.dtype, device=c.device)
    angles = c[:, None] * torch.exp(-2 * math.log(10000) / width * k)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, with zero weights."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _resampled(x: Tensor, way: Way) -> Tensor:
    """Half the sides by averages, twice by nearest neighbours, or as it is."""
    if way == "down":
        return F.avg_pool2d(x, 2)
    return F.interpolate(x, scale_factor=2.0, mode="nearest") if way == "up" else x


class Residual(nn.Module):
    """BigGAN's block: norm, SiLU, resampling, conv; norm told the embedding, SiLU, dropout, conv; plus the input.

    The input is resampled too. With ``scale_shift`` the embedding acts as ``(1 + scale) norm(h) + shift`` (adaptive
    group normalisation), else it is added before the norm. With ``rescale`` the sum is divided by sqrt(2).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        groups: int,
        dropout: float,
        *,
        way: Way,
        scale_shift: bool,
        rescale: bool,
    ) -> None:
        super().__init__()
        self.way, self.scale_shift, self.factor = way, scale_shift, math.sqrt(0.5) if rescale else 1.0
        self.norm1, self.conv1 = nn.GroupNorm(groups, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.embed = nn.Linear(embedding, 2 * outputs if scale_shift else outputs)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outputs), zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` and ``(B, embedding)`` to ``(B, outputs, H', W')``."""
        h = self.conv1(_resampled(F.silu(self.norm1(x)), self.way))
        told = self.embed(F.silu(embedding))[:, :, None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + told)
        h = self.conv2(self.dropout(F.silu(h)))
        out: Tensor = self.skip(_resampled(x, self.way)) + h
        return out * self.factor if self.factor != 1 else out


class Attention(nn.Module):
    """Self-attention over all places, plus the input."""

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(groups, width)
        self.qkv, self.out = nn.Conv2d(width, 3 * width, 1), zero(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The shape of x."""
        h = _attended(self.qkv(self.norm(x)).flatten(2), self.heads)
        out: Tensor = x + self.out(h.view_as(x))
        return out


class Downsample(nn.Module):
    """Half the sides, by a convolution of stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H/2, W/2)``."""
        out: Tensor = self.conv(x)
        return out


class Upsample(nn.Module):
    """Twice the sides: nearest neighbours, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, 2 H, 2 W)``."""
        out: Tensor = self.conv(_resampled(x, "up"))
        return out


class AttentionPool(nn.Module):
    """What the mean over all places, as one place more, has attended to (as in CLIP, arXiv:2103.00020)."""

    def __init__(self, width: int, places: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.heads = heads
        self.positions = nn.Parameter(torch.randn(width, places + 1) / width**0.5)
        self.qkv, self.out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, outputs)``."""
        x = x.flatten(2)
        x = torch.cat([x.mean(2, keepdim=True), x], dim=2) + self.positions
        out: Tensor = self.out(_attended(self.qkv(x), self.heads)[:, :, :1])[:, :, 0]
        return out


def _attended(qkv: Tensor, heads: int) -> Tensor:
    """``(B, 3 C, N)`` to ``(B, C, N)``."""
    b, width, n = qkv.shape
    q, k, v = qkv.reshape(b, 3, heads, width // 3 // heads, n).transpose(-1, -2).unbind(1)
    return F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, width // 3, n)
