"""Between graph states and networkx."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from suffuse.errors import InvalidInput
from suffuse.state import State
from suffuse_graph_sets.space import leaves_of

__all__ = ["adjacencies", "degree_one_hot", "from_networkx", "to_networkx"]


def from_networkx(
    graphs: Sequence[nx.Graph], *, nodes: int, features: int, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """A state of these undirected graphs, nodes in each graph's own order, features their degrees, one-hot.

    Edge weights are kept (1 without one), self-loops left out. Raises ``InvalidInput`` for no graphs, an empty or
    directed one, or one of more than ``nodes`` nodes.
    """
    sizes = [g.number_of_nodes() for g in graphs]
    if not sizes or min(sizes) < 1 or max(sizes) > nodes:
        raise InvalidInput(f"expected graphs of 1 to {nodes} nodes, got {sorted(set(sizes)) or 'none'}")
    if any(g.is_directed() for g in graphs):
        raise InvalidInput("expected undirected graphs, got a directed one")
    adj = torch.zeros(len(graphs), nodes, nodes, dtype=dtype)
    for i, (graph, n) in enumerate(zip(graphs, sizes, strict=True)):
        adj[i, :n, :n] = torch.from_numpy(nx.to_numpy_array(graph)).to(dtype).fill_diagonal_(0)
    mask = (torch.arange(nodes) < torch.tensor(sizes)[:, None]).to(dtype)
    return {"x": degree_one_hot(adj, mask, features), "adj": adj, "mask": mask}


def degree_one_hot(adj: Tensor, mask: Tensor, features: int) -> Tensor:
    """One-hot numbers of neighbours ``(B, N, F)``; degrees of F - 1 and more share the last place."""
    degree = (adj != 0).sum(-1).clamp_max(features - 1)
    return torch.nn.functional.one_hot(degree, features).to(adj.dtype) * mask[:, :, None]


def adjacencies(x: State) -> list[np.ndarray]:
    """Each graph's present nodes' adjacency, int64 ``(n, n)``; ``InvalidInput`` unless it is of whole numbers."""
    _, adj, mask = leaves_of(x)
    whole = adj.detach().cpu().round()
    if bool((whole != adj.detach().cpu()).any()) or bool((whole < 0).any()):
        raise InvalidInput("expected graphs with edges of 0, 1, ..., got other values: decode with graph-sets/quantise")
    present = mask.detach().cpu() != 0
    return [a[m][:, m].to(torch.int64).numpy() for a, m in zip(whole, present, strict=True)]


def to_networkx(x: State) -> list[nx.Graph]:
    """Each graph's present nodes, numbered from 0, and edges; orders above 1 become the attribute ``weight``."""
    found = []
    for a in adjacencies(x):
        graph = nx.empty_graph(len(a))
        for i, j in np.argwhere(np.tril(a, -1)):
            graph.add_edge(int(j), int(i), **({"weight": int(a[i, j])} if a[i, j] > 1 else {}))
        found.append(graph)
    return found
