"""Two communities and a bridge."""

from __future__ import annotations

from functools import cache
from typing import Literal

import attrs
import networkx as nx
import numpy as np
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Example
from suffuse.rng import Rng
from suffuse_graph_sets.sets import Split, part_of, rows_of

__all__ = ["CommunitySmall"]


@attrs.frozen(kw_only=True)
class CommunitySmall(Dataset):
    """100 graphs of 12, 14, ..., 20 nodes: two random graphs of equal size with edge probability 0.7, and bridges.

    The recipe of the benchmark (Niu et al., Permutation Invariant Graph Generation via Score-Based Generative Modeling,
    2020, arXiv:2003.00638, and its code): the size is floor(m/2) for m uniform on 12 ... 20; each pair across has an
    edge with probability ``2 * 0.05 / size``, and if none has, the first nodes of both.

    The benchmark's code seeds the two random graphs with 0 and 1, so its set, and this one, holds one pair of
    communities for each of the five sizes and differs in the bridges alone. With ``blocks="independent"`` every graph
    has communities of its own; figures are then not those of the benchmark. A community that falls apart is joined as
    the benchmark does, by the same rule between all components.
    """

    split: Split = setting("train", "which graphs", choices=("train", "test", "all"))
    blocks: Literal["benchmark", "independent"] = setting(
        "benchmark", "one pair of communities a size, or new ones for each graph", choices=("benchmark", "independent")
    )
    count: int = setting(100, "graphs in all", ge=5)
    nodes: int = setting(20, "N of the states", ge=20)
    features: int = setting(10, "F: one-hot degrees", ge=1)
    seed: int = setting(0, "of the graphs", ge=0)

    def __len__(self) -> int:
        return len(self.graphs())

    def graphs(self) -> tuple[nx.Graph, ...]:
        """As networkx graphs."""
        return part_of(_generate(self.count, self.seed, self.blocks), self.split)

    def rows(self, index: Tensor, rng: Rng) -> Example:
        """These graphs and their numbers of nodes."""
        return rows_of(self, index)


@cache
def _generate(count: int, seed: int, blocks: str) -> tuple[nx.Graph, ...]:
    g = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        size = int(g.integers(12, 21)) // 2
        seeds = (0, 1) if blocks == "benchmark" else map(int, g.integers(0, 2**31, 2))
        found.append(_bridged(nx.disjoint_union_all([nx.gnp_random_graph(size, 0.7, seed=s) for s in seeds]), size, g))
    return tuple(found)


def _bridged(graph: nx.Graph, size: int, g: np.random.Generator) -> nx.Graph:
    """Edges between components, with probability ``2 * 0.05 / size``, at least one for each pair of them."""
    parts = [sorted(c) for c in nx.connected_components(graph)]
    for i, here in enumerate(parts):
        for there in parts[i + 1 :]:
            drawn = np.argwhere(g.random((len(here), len(there))) < 2 * 0.05 / size)
            pairs = [(here[u], there[v]) for u, v in drawn]
            graph.add_edges_from(pairs or [(here[0], there[0])])
    return graph
