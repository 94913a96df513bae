"""Lattices."""

from __future__ import annotations

from functools import cache

import attrs
import networkx as nx
import numpy as np
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Example
from suffuse.errors import SpecError
from suffuse.rng import Rng
from suffuse_graph_sets.sets import Split, part_of, rows_of

__all__ = ["Grid"]


@attrs.frozen(kw_only=True)
class Grid(Dataset):
    """100 two-dimensional grids, both sides uniform on 10 ... 19: 100 to 361 nodes, degrees 2 to 4.

    The benchmark's set (Jo et al. 2022, arXiv:2202.02514, appendix C, and its code). Smaller sides give smaller graphs
    of the same kind.
    """

    split: Split = setting("train", "which graphs", choices=("train", "test", "all"))
    low: int = setting(10, "the shortest side", ge=2)
    high: int = setting(19, "the longest side", ge=2)
    count: int = setting(100, "graphs in all", ge=5)
    nodes: int = setting(361, "N of the states", ge=4)
    features: int = setting(5, "F: one-hot degrees", ge=1)
    seed: int = setting(0, "of the graphs", ge=0)

    def __attrs_post_init__(self) -> None:
        if not self.low <= self.high or self.high**2 > self.nodes:
            raise SpecError(f"expected low <= high and nodes >= high^2, got {self.low}, {self.high} and {self.nodes}")

    def __len__(self) -> int:
        return len(self.graphs())

    def graphs(self) -> tuple[nx.Graph, ...]:
        """As networkx graphs."""
        return part_of(_generate(self.count, self.seed, self.low, self.high), self.split)

    def rows(self, index: Tensor, rng: Rng) -> Example:
        """These graphs and their numbers of nodes."""
        return rows_of(self, index)


@cache
def _generate(count: int, seed: int, low: int, high: int) -> tuple[nx.Graph, ...]:
    sides = np.random.default_rng(seed).integers(low, high + 1, (count, 2))
    return tuple(nx.convert_node_labels_to_integers(nx.grid_2d_graph(int(m), int(n))) for m, n in sides)
