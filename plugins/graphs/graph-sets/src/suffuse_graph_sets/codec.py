"""From real-valued states to graphs."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch

from suffuse.contracts.network import Codec
from suffuse.contracts.part import setting
from suffuse.state import State
from suffuse_graph_sets.space import leaves_of, masked

__all__ = ["Quantise"]


@attrs.frozen(kw_only=True)
class Quantise(Codec):
    """Edges are rounded to 0, 1, ..., ``orders`` (thresholds 0.5, 1.5, ...), and isolated nodes removed.

    Jo et al., Score-based Generative Modeling of Graphs via the System of SDEs, 2022, arXiv:2202.02514, appendix C;
    removal as in the evaluation of their code. A graph without edges keeps its first node. Node features stay as they
    are. Data without isolated nodes come back as they were.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"graphs"})

    orders: int = setting(1, "the highest edge value: 1 for plain graphs, 3 for bond orders", ge=1)

    def encode(self, data: State) -> State:
        """The data."""
        return data

    def decode(self, state: State) -> State:
        """Graphs with whole edges, and a mask of the nodes that have one."""
        x, adj, mask = leaves_of(state)
        _, whole = masked(x, (adj + 0.5).floor().clamp(0, self.orders), mask)
        linked = (whole != 0).any(-1)
        first = torch.arange(mask.shape[1], device=mask.device) == mask.argmax(1)[:, None]
        kept = torch.where(linked.any(1, keepdim=True), linked, first).to(mask.dtype)
        nodes, edges = masked(x, whole, kept)
        return {"x": nodes, "adj": edges, "mask": kept}
