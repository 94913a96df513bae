"""Images as sequences of patches, and where each patch stands."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["patchify", "sincos_positions", "unpatchify"]


def patchify(x: Tensor, p: int) -> Tensor:
    """``(B, C, H, W)`` to ``(B, H/p * W/p, p * p * C)``, row by row; within a patch the channel runs fastest."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 3, 5, 1).reshape(b, -1, p * p * c)


def unpatchify(tokens: Tensor, p: int, size: tuple[int, int]) -> Tensor:
    """The inverse of ``patchify`` for images of height and width ``size``."""
    b, (h, w) = len(tokens), size
    return tokens.reshape(b, h // p, w // p, p, p, -1).permute(0, 5, 1, 3, 2, 4).reshape(b, -1, h, w)


def sincos_positions(rows: int, columns: int, width: int) -> Tensor:
    """Fixed positions ``(rows * columns, width)``, float32: the first half tells the column, the second the row.

    Each half is ``[sin(p w_i), cos(p w_i)]`` with ``w_i = 10000^(-4 i / width)``, i < width/4: the embedding of
    Vaswani et al., 2017, arXiv:1706.03762, section 3.5, for each axis.
    """
    omega = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [p.reshape(-1, 1) * omega for p in (column, row)]
    return torch.cat([f for a in angles for f in (a.sin(), a.cos())], dim=1).float()
