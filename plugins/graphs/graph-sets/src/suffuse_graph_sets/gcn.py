"""The dense graph convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Gcn", "normalised"]


def normalised(adj: Tensor) -> Tensor:
    """``D^(-1/2) (A + I) D^(-1/2)`` over the last two dimensions, D the row sums of A + I, at least 1.

    Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, 2017, arXiv:1609.02907, eq. 2;
    the bound is for noisy A, whose sums may be negative, and acts on no plain graph. The diagonal of A is replaced.
    """
    eye = torch.eye(adj.shape[-1], dtype=adj.dtype, device=adj.device)
    looped = adj * (1 - eye) + eye
    scale = looped.sum(-1).clamp_min(1).rsqrt()
    return scale[..., :, None] * looped * scale[..., None, :]


class Gcn(nn.Module):
    """``A~ X W + b`` for a normalised adjacency ``A~``; W from Glorot's uniform law, b = 0."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(inputs, outputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        """X ``(B, N, inputs)`` and the normalised adjacency ``(B, N, N)`` to ``(B, N, outputs)``."""
        return adj @ (x @ self.weight) + self.bias
