"""The parts of a diffusion transformer: embeddings, the adaLN-Zero block, and the last layer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Block", "Final", "NoiseEmbedding"]


class NoiseEmbedding(nn.Module):
    """``c_noise`` ``(B,)`` to ``(B, width)``: 256 sinusoids and a two-layer SiLU network.

    The frequencies fall from 1 to nearly 1/10000, cosines first: made for conditioning values such as 0 ... 999.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, c_noise: Tensor) -> Tensor:
        """Angles are float32 at least: half precision cannot tell step 998 from 999."""
        frequencies = torch.exp(-math.log(10000) / 128 * torch.arange(128, device=c_noise.device))
        angles = c_noise.to(torch.promote_types(c_noise.dtype, torch.float32))[:, None] * frequencies
        features = torch.cat([angles.cos(), angles.sin()], dim=1)
        embedded: Tensor = self.mlp(features.to(self.mlp[0].weight.dtype))
        return embedded


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """A transformer block whose norms, and whose residual branches, are steered by the condition (adaLN-Zero).

    ``x + g1 attention((1 + s1) norm(x) + b1)``, then ``x + g2 mlp((1 + s2) norm(x) + b2)``, with (b1, s1, g1, b2,
    s2, g2) linear in SiLU(c) and zero at the start: the block begins as the identity. Tokens ``(B, N, width)`` for
    any N, c ``(B, width)``.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = _norm(width), _norm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """The tokens after attention and network."""
        b1, s1, g1, b2, s2, g2 = self.modulation(c).chunk(6, dim=1)
        x = x + g1[:, None] * self._attention(_modulate(self.norm1(x), b1, s1))
        return x + g2[:, None] * self.mlp(_modulate(self.norm2(x), b2, s2))

    def _attention(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class Final(nn.Module):
    """An adaptive norm and a linear map from tokens to patches."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.linear = nn.Linear(width, out)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """``(B, N, width)`` to ``(B, N, out)``."""
        shift, scale = self.modulation(c).chunk(2, dim=1)
        out: Tensor = self.linear(_modulate(self.norm(x), shift, scale))
        return out
