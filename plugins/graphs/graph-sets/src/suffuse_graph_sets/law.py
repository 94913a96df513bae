"""Gaussian laws on graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Law
from suffuse.rng import Rng
from suffuse.state import Coefficient, State, combine, expand, promote
from suffuse_graph_sets.space import Graphs, graph_noise, leaves_of, masked

__all__ = ["GraphNormal"]


@attrs.frozen(eq=False)
class GraphNormal(Law):
    """``mean + std z`` with z the unit noise of graphs: independent on node features and on pairs of present nodes.

    ``std`` has a coefficient for ``x`` and one for ``adj``, ``()`` or ``(B,)``; the mask is the mean's.
    """

    mean: State
    std: Coefficient

    def sample(self, rng: Rng) -> State:
        """One graph a row."""
        scale = {**cast(Mapping[str, Tensor], self.std), "mask": 0.0}
        return combine(1.0, self.mean, scale, graph_noise(_promoted(self.mean), rng))

    def log_prob(self, x: State) -> Tensor:
        """The density of present nodes' features and of present pairs, each once, given the mask. ``(B,)``."""
        std, here, mean = cast(Mapping[str, Tensor], self.std), _promoted(x), _promoted(self.mean)
        logs = {}
        for name in ("x", "adj"):
            s = torch.as_tensor(expand(std[name], mean[name])).to(mean[name])
            z = (here[name] - mean[name]) / s
            logs[name] = (-0.5 * z**2 - s.log() - 0.5 * math.log(2 * math.pi)).expand_as(mean[name])
        nodes, pairs = masked(logs["x"], logs["adj"], mean["mask"])
        return Graphs(nodes=nodes.shape[1], features=nodes.shape[2]).sum_event({**mean, "x": nodes, "adj": pairs})


def _promoted(x: State) -> dict[str, Tensor]:
    return dict(zip(("x", "adj", "mask"), map(promote, leaves_of(x)), strict=True))
