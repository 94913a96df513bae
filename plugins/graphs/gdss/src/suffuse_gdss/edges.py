"""The network of the edges' score: graph multi-head attention over several adjacency channels."""

from __future__ import annotations

import math

import torch
from suffuse_graph_sets.gcn import normalised
from torch import Tensor, nn

from suffuse_gdss.nodes import elu_mlp

__all__ = ["AttentionLayer", "EdgeNet"]


class AttentionLayer(nn.Module):
    """One layer of graph multi-head attention (GMH) over C adjacency channels.

    In each channel queries, keys and values are graph convolutions of the nodes, and the attention is the mean over
    heads of ``tanh(Q K^T / sqrt(outputs))``, made symmetric. An MLP on each pair's attentions and channels gives the
    new channels, plus their transpose; one on the values of all channels gives the new nodes (arXiv:2202.02514, eq. 9;
    Baek et al., Accurate Learning of Graph Representations with Graph Multiset Pooling, 2021, arXiv:2102.11533).
    """

    def __init__(
        self, *, channels: int, channels_out: int, inputs: int, attention: int, outputs: int, heads: int, linears: int
    ) -> None:
        super().__init__()
        self.split, self.heads, self.scale = [attention, attention, outputs], heads, 1 / math.sqrt(outputs)
        made = [[nn.init.xavier_uniform_(torch.empty(inputs, w)) for w in self.split] for _ in range(channels)]
        self.weight = nn.Parameter(torch.stack([torch.cat(one, dim=1) for one in made]))
        self.bias = nn.Parameter(torch.zeros(channels, 1, sum(self.split)))
        hidden = 2 * max(channels, channels_out)
        self.pairs = elu_mlp(2 * channels, hidden, channels_out, layers=linears)
        self.nodes = elu_mlp(channels * outputs, hidden, outputs, layers=2)

    def forward(self, x: Tensor, adj: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes ``(B, N, inputs)`` and channels ``(B, C, N, N)`` to ``(B, N, outputs)`` and ``(B, C', N, N)``."""
        mixed = normalised(adj) @ torch.einsum("bnf,cfd->bcnd", x, self.weight) + self.bias
        q, k, v = mixed.split(self.split, dim=-1)
        q, k = (u.unflatten(-1, (self.heads, -1)).transpose(2, 3) for u in (q, k))
        attention = torch.tanh(q @ k.mT * self.scale).mean(2)
        attention = (attention + attention.mT) / 2
        pairs = self.pairs(torch.cat([attention, adj], dim=1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        both = (mask[:, :, None] * mask[:, None, :])[:, None]
        values = self.nodes(v.permute(0, 2, 1, 3).flatten(2))
        return torch.tanh(values * mask[:, :, None]), (pairs + pairs.mT) * both


class EdgeNet(nn.Module):
    """``MLP`` of each pair's channels of all layers, the first being ``A, A^2, ...`` (arXiv:2202.02514, eq. 9)."""

    def __init__(
        self,
        *,
        features: int,
        width: int,
        attention: int,
        layers: int,
        heads: int,
        linears: int,
        channels: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.powers, hidden, last = channels
        counts = [self.powers, *[hidden] * (layers - 1), last]
        self.layers = nn.ModuleList(
            AttentionLayer(
                channels=counts[i],
                channels_out=counts[i + 1],
                inputs=width if i else features,
                attention=attention if i else width,
                outputs=width,
                heads=heads,
                linears=linears,
            )
            for i in range(layers)
        )
        self.final = elu_mlp(sum(counts), 2 * sum(counts), 1, layers=3)

    def forward(self, x: Tensor, adj: Tensor, mask: Tensor) -> Tensor:
        """``(B, N, N)``, symmetric, zero on the diagonal and at absent nodes."""
        powers = [adj]
        while len(powers) < self.powers:
            powers.append(powers[-1] @ adj)
        found = [torch.stack(powers, dim=1)]
        for layer in self.layers:
            x, channels = layer(x, found[-1], mask)
            found.append(channels)
        out: Tensor = self.final(torch.cat(found, dim=1).permute(0, 2, 3, 1))[..., 0]
        both = mask[:, :, None] * mask[:, None, :]
        return out * both * (1 - torch.eye(out.shape[1], dtype=out.dtype, device=out.device))
