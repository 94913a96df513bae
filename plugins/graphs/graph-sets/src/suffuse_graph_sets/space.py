"""Batches of undirected graphs of different sizes, padded to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.space import Space
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State

__all__ = ["Graphs", "graph_noise", "leaves_of", "masked"]


def leaves_of(x: State) -> tuple[Tensor, Tensor, Tensor]:
    """``(x, adj, mask)``. Raises ``InvalidInput`` for another state."""
    if not isinstance(x, Mapping) or set(x) != {"x", "adj", "mask"}:
        got = f"leaves {sorted(x)}" if isinstance(x, Mapping) else f"a tensor of shape {tuple(x.shape)}"
        raise InvalidInput(f"expected a graph state with the leaves x, adj and mask, got {got}")
    return x["x"], x["adj"], x["mask"]


def masked(nodes: Tensor, adj: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """``(nodes, adj)`` with zeros where a node is absent, on the diagonal of adj too. Both differentiable."""
    m = mask.to(nodes.dtype)
    pairs = m[:, :, None] * m[:, None, :] * (1 - torch.eye(m.shape[1], dtype=m.dtype, device=m.device))
    return nodes * m[:, :, None], adj * pairs


def graph_noise(like: State, rng: Rng) -> dict[str, Tensor]:
    """Unit noise on nodes and edges, symmetric and masked; the mask is that of ``like``.

    One normal for each node feature (stream ``x``) and for each pair of nodes (stream ``adj``), pair (i, j), j < i, at
    place ``i (i - 1)/2 + j``: a graph's noise does not depend on how far it is padded.
    """
    x, adj, mask = leaves_of(like)
    n = adj.shape[1]
    rows, columns = torch.tril_indices(n, n, -1, device=adj.device)
    lower = torch.zeros_like(adj)
    lower[:, rows, columns] = rng.at("adj").normal(adj.new_zeros(len(adj), len(rows)))
    nodes, pairs = masked(rng.at("x").normal(x), lower + lower.mT, mask)
    return {"x": nodes, "adj": pairs, "mask": mask}


@attrs.frozen(kw_only=True)
class Graphs(Space):
    """Undirected graphs without self-loops: ``x (B, N, F)``, ``adj (B, N, N)`` and ``mask (B, N)``.

    ``adj`` is symmetric with a zero diagonal, and what belongs to an absent node (mask 0) is zero. The mask has the
    dtype of the other leaves; which nodes are there does not change on the way from noise to data.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"graphs"})

    nodes: int = setting(doc="N, the most nodes a graph can have", ge=1)
    features: int = setting(doc="F, features of a node", ge=1)

    def like(self, n: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> State:
        """n graphs of N nodes without features and edges."""
        zeros = torch.zeros(n, self.nodes, self.nodes + self.features, dtype=dtype, device=device)
        x, adj = zeros.split([self.features, self.nodes], dim=2)
        return {"x": x.contiguous(), "adj": adj.contiguous(), "mask": torch.ones_like(adj[:, :, 0])}

    def check(self, x: State) -> None:
        """Raise ``InvalidInput`` unless x is a finite batch of such graphs, up to rounding."""
        leaves_of(x)
        Space.check(self, x)
        nodes, adj, mask = leaves_of(x)
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise InvalidInput(
                f"a mask holds zeros and ones, got values from {float(mask.min())} to {float(mask.max())}"
            )
        right = cast(Mapping[str, Tensor], self.project(x))
        for name, v in (("x", nodes), ("adj", adj)):
            off = float((v - right[name]).abs().max()) if v.numel() else 0.0
            if off > 1e-5 * (1 + float(v.abs().max())):
                told = "zero at absent nodes" + (", symmetric, with a zero diagonal" if name == "adj" else "")
                raise InvalidInput(f"{name} must be {told}; it is off by {off:.2g}")

    def noise(self, like: State, rng: Rng) -> State:
        """See ``graph_noise``."""
        return graph_noise(like, rng)

    def project(self, x: State) -> State:
        """``adj <- (adj + adj^T)/2``, then zeros on its diagonal and at absent nodes."""
        nodes, adj, mask = leaves_of(x)
        nodes, adj = masked(nodes, (adj + adj.mT) / 2, mask)
        return {"x": nodes, "adj": adj, "mask": mask}

    def sum_event(self, x: State) -> Tensor:
        """Sum over node features and over pairs of nodes, each once; the mask does not count."""
        nodes, adj, _ = leaves_of(x)
        return nodes.flatten(1).sum(1) + adj.tril(-1).flatten(1).sum(1)
