"""What the generated data sets have in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, Protocol, TypeVar

import networkx as nx
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.task import Example
from suffuse.errors import InvalidInput
from suffuse.state import rows
from suffuse_graph_sets.convert import from_networkx

__all__ = ["GraphSet", "Split", "everything", "part_of", "rows_of", "size_law"]

T = TypeVar("T")
Split = Literal["train", "test", "all"]


class GraphSet(Protocol):
    """A data set of graphs: hashable settings, from which they follow."""

    nodes: int
    features: int

    def graphs(self) -> tuple[nx.Graph, ...]:
        """The graphs of the split."""


def part_of(graphs: Sequence[T], split: Split) -> tuple[T, ...]:
    """The first fifth is for testing, the rest for training."""
    test = len(graphs) // 5
    return tuple({"train": graphs[test:], "test": graphs[:test], "all": graphs}[split])


def rows_of(data: GraphSet, index: Tensor) -> Example:
    """These graphs, with their numbers of ``nodes`` as the condition. ``InvalidInput`` for an index out of range."""
    state, n = _states(data), len(data.graphs())
    if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
        raise InvalidInput(f"expected indices (batch,), integers, got {index.dtype} of shape {tuple(index.shape)}")
    if bool(((index < 0) | (index >= n)).any()):
        raise InvalidInput(f"there are graphs 0 to {n - 1}, got indices from {int(index.min())} to {int(index.max())}")
    x = rows(state, index)
    assert not isinstance(x, Tensor)
    return Example(x=x, cond=Condition(nodes=x["mask"].sum(1).long()))


def everything(data: GraphSet) -> Example:
    """All graphs of the split in order."""
    return rows_of(data, torch.arange(len(data.graphs())))


def size_law(data: GraphSet) -> tuple[float, ...]:
    """The share of graphs with 1, 2, ..., N nodes: what a process draws sizes from."""
    sizes = torch.tensor([g.number_of_nodes() for g in data.graphs()])
    return tuple((sizes.bincount(minlength=data.nodes + 1)[1:] / len(sizes)).tolist())


@cache
def _states(data: GraphSet) -> dict[str, Tensor]:
    return from_networkx(data.graphs(), nodes=data.nodes, features=data.features)
