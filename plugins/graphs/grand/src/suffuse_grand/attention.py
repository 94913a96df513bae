"""The diffusivity: attention along the edges of a graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["Attention", "edges_of"]


def edges_of(adj: Tensor) -> Tensor:
    """Where A may be non-zero: the edges and the diagonal, bool ``(B, N, N)``."""
    return (adj != 0) | torch.eye(adj.shape[-1], dtype=torch.bool, device=adj.device)


class Attention(nn.Module):
    """``A_ij = mean_h softmax_j((W_K^h x_i)^T W_Q^h x_j / sqrt(d_k))`` over the neighbours j of i, i among them.

    Chamberlain et al. 2021, arXiv:2106.10934, where the scale is d_k; sqrt(d_k) is the released code's. Its
    weights start at 1e-5, so that attention starts uniform; biases break the tie between units. Rows sum to 1, which
    the proofs of stability need.
    """

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key, self.query = nn.Linear(inputs, width), nn.Linear(inputs, width)
        for layer in (self.key, self.query):
            nn.init.constant_(layer.weight, 1e-5)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """X ``(B, N, d)`` and edges ``(B, N, N)`` with the diagonal to A ``(B, N, N)``."""
        k, q = (layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.key, self.query))
        scores = (k @ q.mT / math.sqrt(k.shape[-1])).masked_fill(~edges[:, None], -torch.inf)
        return scores.softmax(-1).mean(1)
