"""Many small pictures on one sheet."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sheet"]


def sheet(images: Tensor, columns: int, *, zoom: int = 6, gap: int = 1) -> Tensor:
    """Images ``(n, C, H, W)`` in [0, 1] row by row on one ``(C, H', W')``, each pixel ``zoom`` pixels wide."""
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    out = torch.full((rows, columns, channels, height + gap, width + gap), 0.25)
    out.view(rows * columns, channels, height + gap, width + gap)[:n, :, :height, :width] = images
    whole = out.permute(2, 0, 3, 1, 4).reshape(channels, rows * (height + gap), columns * (width + gap))
    whole = whole[:, : rows * (height + gap) - gap, : columns * (width + gap) - gap]
    return whole.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
