"""The network of the nodes' score."""

from __future__ import annotations

from itertools import pairwise

import torch
from suffuse_graph_sets.gcn import Gcn, normalised
from torch import Tensor, nn

__all__ = ["NodeNet", "elu_mlp"]


def elu_mlp(inputs: int, hidden: int, outputs: int, *, layers: int) -> nn.Sequential:
    """``layers`` linear maps with ELU between them."""
    widths = [inputs, *[hidden] * (layers - 1), outputs]
    parts: list[nn.Module] = []
    for a, b in pairwise(widths):
        parts += [nn.Linear(a, b), nn.ELU()]
    return nn.Sequential(*parts[:-1])


class NodeNet(nn.Module):
    """``MLP([H_0, ..., H_L])`` with ``H_0 = X`` and ``H_l = tanh(GCN(H_(l-1), A))`` (arXiv:2202.02514, eq. 8)."""

    def __init__(self, *, features: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Gcn(features if i == 0 else width, width) for i in range(depth)])
        total = features + depth * width
        self.final = elu_mlp(total, 2 * total, features, layers=3)

    def forward(self, x: Tensor, adj: Tensor, mask: Tensor) -> Tensor:
        """``(B, N, F)``, zero at absent nodes."""
        near, found = normalised(adj), [x]
        for layer in self.layers:
            found.append(torch.tanh(layer(found[-1], near)))
        out: Tensor = self.final(torch.cat(found, dim=-1))
        return out * mask[:, :, None]
