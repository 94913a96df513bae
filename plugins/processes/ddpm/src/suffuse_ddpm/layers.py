"""The layers of DDPM's U-Net, initialised as published: Glorot-uniform, zero biases, zero last layers."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "Downsample", "Residual", "Sequence", "Upsample", "conv", "linear", "normalize", "sinusoids"]

_Layer = TypeVar("_Layer", nn.Conv2d, nn.Linear)


def sinusoids(c_noise: Tensor, width: int) -> Tensor:
    """``[sin(c w_k), cos(c w_k)]``, ``w_k = 10000^(-k/(width/2 - 1))``: ``(B,)`` to ``(B, width)``, float32 or more."""
    half = width // 2
    c = c_noise.float() if c_noise.dtype in (torch.float16, torch.bfloat16) else c_noise
    k = torch.arange(half, dtype=c.dtype, device=c.device)
    angles = c[:, None] * torch.exp(-math.log(10000) / max(half - 1, 1) * k)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def conv(
    inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int | None = None, zero: bool = False
) -> nn.Conv2d:
    """A convolution; ``padding`` keeps the sides by default."""
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2 if padding is None else padding)
    return _initialised(layer, zero)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A dense layer."""
    return _initialised(nn.Linear(inputs, outputs), zero=False)


def normalize(width: int, groups: int) -> nn.GroupNorm:
    """GroupNorm with as many of ``groups`` as divide the width and leave at least 4 channels in each."""
    return nn.GroupNorm(math.gcd(groups, max(width // 4, 1)), width, eps=1e-6)


class Residual(nn.Module):
    """Norm, SiLU, conv, plus the embedding; norm, SiLU, dropout, conv; plus the input."""

    def __init__(self, inputs: int, outputs: int, embedding: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.conv1 = normalize(inputs, groups), conv(inputs, outputs, 3)
        self.embed = linear(embedding, outputs)
        self.norm2, self.conv2 = normalize(outputs, groups), conv(outputs, outputs, 3, zero=True)
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` and ``(B, embedding)`` to ``(B, outputs, H, W)``."""
        h = self.conv1(F.silu(self.norm1(x))) + self.embed(F.silu(embedding))[:, :, None, None]
        return self.skip(x) + self.conv2(self.dropout(F.silu(self.norm2(h))))


class Attention(nn.Module):
    """Self-attention over all places, plus the input."""

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = normalize(width, groups)
        # Three layers in one: each third starts as a layer of its own would.
        self.qkv = conv(width, 3 * width, 1)
        for third in self.qkv.weight.detach().split(width):
            nn.init.xavier_uniform_(third)
        self.out = conv(width, width, 1, zero=True)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The shape of x."""
        b, _, height, wide = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, 3, self.heads, -1, height * wide).transpose(-1, -2).unbind(1)
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(h.transpose(-1, -2).reshape(x.shape))


class Sequence(nn.Module):
    """Layers in order, each told the embedding."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Through all."""
        for layer in self.layers:
            x = layer(x, embedding)
        return x


class Downsample(nn.Module):
    """Half the sides, by a convolution of stride 2 padded below and to the right, as in the published weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(width, width, 3, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, H/2, W/2)``."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the sides: nearest neighbours, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C, 2 H, 2 W)``."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _initialised(layer: _Layer, zero: bool) -> _Layer:
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
