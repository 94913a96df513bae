"""The stochastic block model."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Example
from suffuse.errors import InvalidInput, SpecError
from suffuse.rng import Rng

__all__ = ["BlockModel"]


@attrs.frozen(kw_only=True)
class BlockModel(Dataset):
    """Graphs of equal classes whose nodes are joined with probability ``inside`` in a class, ``across`` between two.

    A node's features are its class's mean, ``scale`` standard normals, and one standard normal each (Holland, Laskey
    and Leinhardt, Stochastic blockmodels: First steps, 1983). Rows carry the conditions ``label`` ``(B, N)`` and
    ``train`` ``(B, N)``, true for ``labelled`` random nodes of each class. Row i is a function of ``(seed, i)``.
    """

    count: int = setting(5, "graphs", ge=1)
    nodes: int = setting(300, "nodes of a graph", ge=2)
    classes: int = setting(3, "classes, of equal sizes", ge=2)
    features: int = setting(16, "numbers a node has", ge=1)
    inside: float = setting(0.06, "probability of an edge within a class", ge=0, le=1)
    across: float = setting(0.008, "probability of an edge between classes", ge=0, le=1)
    scale: float = setting(0.6, "standard deviation of the classes' means", ge=0)
    labelled: int = setting(10, "nodes of each class that train", ge=1)
    seed: int = setting(0, "of the graphs", ge=0)

    def __attrs_post_init__(self) -> None:
        if self.nodes % self.classes or self.nodes // self.classes <= self.labelled:
            told = f"{self.classes} equal classes of more than labelled={self.labelled}"
            raise SpecError(f"nodes must make {told}, got {self.nodes}")

    def __len__(self) -> int:
        return self.count

    def rows(self, index: Tensor, rng: Rng) -> Example:
        """These graphs. ``InvalidInput`` for an index out of range."""
        if index.ndim != 1 or bool(((index < 0) | (index >= self.count)).any()):
            raise InvalidInput(f"there are graphs 0 to {self.count - 1}, got {index.tolist()}")
        made = [self._graph(int(i)) for i in index]
        x, adj, label, train = (torch.stack(v) for v in zip(*made, strict=True))
        state = {"x": x, "adj": adj, "mask": torch.ones_like(x[:, :, 0])}
        return Example(x=state, cond=Condition(label=label, train=train))

    def _graph(self, i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = Rng.of(self.seed, 1, start=i)
        n, size = self.nodes, self.nodes // self.classes
        label = torch.arange(n) // size
        chance = torch.where(label[:, None] == label, self.inside, self.across)
        lower = (rng.at("edges").uniform(torch.empty(1, n, n))[0] < chance).float().tril(-1)
        means = self.scale * rng.at("means").normal(torch.empty(1, self.classes, self.features))[0]
        x = means[label] + rng.at("features").normal(torch.empty(1, n, self.features))[0]
        order = rng.at("train").uniform(torch.empty(1, self.classes, size))[0].argsort(1)
        return x, lower + lower.T, label, (order.argsort(1) < self.labelled).flatten()
