"""The two networks as one denoiser."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import torch
from suffuse_graph_sets.space import leaves_of
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Noise
from suffuse.contracts.process import Process, as_time
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, expand, promote
from suffuse_gdss.edges import EdgeNet
from suffuse_gdss.nodes import NodeNet
from suffuse_gdss.process import GraphSystem

__all__ = ["GraphScores", "check_nodes"]

Output = Literal["eps", "score"]


def check_nodes(cond: Condition) -> None:
    """Raise ``InvalidInput`` unless the condition is empty or ``nodes``, integers ``(batch,)`` of at least 1."""
    if set(cond) - {"nodes"}:
        raise InvalidInput(f"this model takes nodes or no condition, got {sorted(cond)}")
    if "nodes" in cond:
        nodes = cond["nodes"]
        if nodes.ndim != 1 or nodes.is_floating_point() or nodes.dtype == torch.bool or bool((nodes < 1).any()):
            raise InvalidInput(f"nodes must be integers (batch,) of at least 1, got {nodes.dtype} {nodes.tolist()}")


@module
class GraphScores(Denoiser):
    """``s_theta(X_t, A_t)`` for the nodes and ``s_phi(X_t, A_t)`` for the edges: both see both, neither sees t.

    Jo et al. 2022, arXiv:2202.02514, section 3.2. A graph convolutional network and a graph multi-head attention
    network, equivariant to permutations. Networks give ``eps`` where the process preserves variance and the ``score``
    where it explodes, as in the authors' code, which scales the first by -1/sigma_t. The condition's ``nodes`` are the
    process's; the networks see the mask.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"noise"})
    needs: ClassVar[frozenset[str]] = frozenset({"graph-system"})

    features: int = setting(10, "F, features of a node", ge=1)
    width: int = setting(32, "hidden features of a node, in both networks", ge=1)
    depth: int = setting(3, "graph convolutions of the nodes' network", ge=1)
    layers: int = setting(5, "attention layers of the edges' network", ge=1)
    attention: int = setting(32, "width of queries and keys after the first layer", ge=1)
    heads: int = setting(4, "attention heads", ge=1)
    linears: int = setting(2, "linear maps of the edges' MLPs", ge=1)
    channels: tuple[int, int, int] = setting(
        (2, 8, 4),
        "adjacency channels: powers of A, between layers, after the last",
        check=lambda c: None if min(c) >= 1 else f"expected counts of at least 1, got {list(c)}",
    )
    x_output: Output = setting("eps", "what the nodes' network gives", choices=("eps", "score"))
    adj_output: Output = setting("eps", "what the edges' network gives", choices=("eps", "score"))

    def __attrs_post_init__(self) -> None:
        if self.width % self.heads or self.attention % self.heads:
            raise SpecError(f"heads={self.heads} must divide width={self.width} and attention={self.attention}")
        self.nodes = NodeNet(features=self.features, width=self.width, depth=self.depth)
        self.edges = EdgeNet(
            features=self.features,
            width=self.width,
            attention=self.attention,
            layers=self.layers,
            heads=self.heads,
            linears=self.linears,
            channels=self.channels,
        )

    def check(self, cond: Condition) -> None:
        """See ``check_nodes``."""
        check_nodes(cond)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Noise:
        """``E[eps | X_t, A_t]`` of both, in the networks' dtype inside, in the state's outside."""
        if not isinstance(process, GraphSystem):
            raise Unsupported(f"{type(self).__name__} reads a graph system, got {type(process).__name__}")
        nodes, adj, mask = leaves_of(x_t)
        if nodes.shape[2] != self.features:
            raise InvalidInput(f"expected nodes of {self.features} features, got shape {tuple(nodes.shape)}")
        dtype = self.nodes.layers[0].weight.dtype
        inside = tuple(v.to(cast(torch.dtype, dtype)) for v in (nodes, adj, mask))
        t, sigma = as_time(t), process.kernel(t).sigma
        value = {"mask": torch.zeros_like(promote(mask))}
        for name, net, output, like in (
            ("x", self.nodes, self.x_output, nodes),
            ("adj", self.edges, self.adj_output, adj),
        ):
            raw = net(*inside).to(promote(like).dtype)
            value[name] = raw if output == "eps" else raw * expand(-cast(dict[str, Tensor], sigma)[name], raw)
        state = {"x": value["x"], "adj": value["adj"], "mask": value["mask"]}
        return Noise(value=state, x_t=x_t, t=t, process=process)
