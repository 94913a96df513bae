"""What is trained on the labels of some nodes: the contract, GRAND, and the graph convolutions it is compared with."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Literal

import torch
from suffuse_graph_sets.gcn import Gcn, normalised
from suffuse_graph_sets.space import leaves_of
from torch import Tensor, nn
from torch.nn.functional import dropout

from suffuse.contracts.part import Part, module, setting
from suffuse.errors import InvalidInput, SpecError
from suffuse.state import State
from suffuse_grand.attention import Attention, edges_of
from suffuse_grand.integrators import Euler, Flow, Integrator
from suffuse_grand.rewiring import Rewiring

__all__ = ["GcnClassifier", "Grand", "NodeClassifier"]


class NodeClassifier(nn.Module, Part):
    """Logits of each node's class, from a graph ``{"x": (B, N, F), "adj": (B, N, N), "mask": (B, N)}``.

    Exchanging nodes exchanges the logits; other graphs of the batch and absent nodes change nothing.
    """

    kind = "node-classifier"

    features: int
    classes: int

    @abstractmethod
    def forward(self, graph: State) -> Tensor:
        """``(B, N, classes)``."""

    def leaves(self, graph: State) -> tuple[Tensor, Tensor]:
        """``(x, adj)``; ``InvalidInput`` for nodes with another number of features."""
        x, adj, mask = leaves_of(graph)
        if x.ndim != 3 or x.shape[2] != self.features or adj.shape != (*x.shape[:2], x.shape[1]):
            expected = f"(batch, nodes, {self.features}) and (batch, nodes, nodes)"
            raise InvalidInput(f"expected x and adj of shapes {expected}, got {tuple(x.shape)} and {tuple(adj.shape)}")
        return x * mask[:, :, None], adj * mask[:, :, None] * mask[:, None, :]


@module
class Grand(NodeClassifier):
    """``Y = psi(X(T))``, ``dX/dt = (A(X) - I) X``, ``X(0) = phi(X_in)``: diffusion with attention as diffusivity.

    Chamberlain et al., GRAND: Graph Neural Diffusion, 2021, arXiv:2106.10934. phi is dropout and a
    linear map, psi a rectifier, dropout and a linear map; depth is the integration time and costs no parameters.
    ``linear`` (GRAND-l) takes A from X(0), so ``X(T) = exp(T (A - I)) X(0)``; ``nonlinear`` (GRAND-nl) takes it anew at
    each evaluation; with ``rewiring`` (GRAND-nl-rw) the edges are chosen at X(0). With ``source`` the field is the
    released code's, ``sigmoid(alpha) (A - I) X + beta X(0)`` with learned numbers alpha and beta, both 0 at first, and
    with no gradient into that X(0). Dropout acts in training mode only, from torch's generator. Edges have no weights.
    """

    features: int = setting(doc="F, numbers a node has", ge=1)
    classes: int = setting(doc="number of classes", ge=2)
    attention: Literal["linear", "nonlinear"] = setting(
        "linear", "attention of X(0), or of X(t)", choices=("linear", "nonlinear")
    )
    time: float = setting(18.0, "T: about 18 on Cora, 8 on Citeseer, 13 on Pubmed", gt=0)
    integrator: Integrator = setting(factory=Euler, doc="the solver")
    rewiring: Rewiring | None = setting(None, "the choice of other edges")
    hidden: int = setting(64, "d, numbers a node has during the diffusion", ge=1)
    width: int = setting(64, "units of keys and queries, of all heads together", ge=1)
    heads: int = setting(4, "attention heads", ge=1)
    input_dropout: float = setting(0.5, "of the features", ge=0, lt=1)
    dropout: float = setting(0.0, "of X(T)", ge=0, lt=1)
    source: bool = setting(False, "learn the rate of diffusion and a source, as the released code does")

    def __attrs_post_init__(self) -> None:
        if self.width % self.heads:
            raise SpecError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        self.encoder, self.decoder = nn.Linear(self.features, self.hidden), nn.Linear(self.hidden, self.classes)
        self.attend = Attention(self.hidden, self.width, self.heads)
        self.alpha = nn.Parameter(torch.zeros(())) if self.source else None
        self.beta = nn.Parameter(torch.zeros(())) if self.source else None

    def flow(self, x: Tensor, adj: Tensor) -> Flow:
        """The field that starts from X(0) = x."""
        edges = edges_of(adj)
        if self.rewiring is not None:
            edges = self.rewiring.rewire(edges, lambda e: self.attend(x, e))
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        rate = 1.0 if self.alpha is None else self.alpha.sigmoid()

        def matrix(v: Tensor) -> Tensor:
            return rate * (self.attend(v, edges) - eye)

        source = None if self.beta is None else self.beta * x.detach()
        if self.attention == "nonlinear":
            return Flow(matrix, source)
        fixed = matrix(x)
        return Flow(lambda _: fixed, source)

    def forward(self, graph: State) -> Tensor:
        """Raises ``InvalidInput`` for another number of features."""
        x, adj = self.leaves(graph)
        start = self.encoder(dropout(x, self.input_dropout, self.training))
        end = self.integrator.solve(self.flow(start, adj), start, self.time)
        out: Tensor = self.decoder(dropout(end.relu(), self.dropout, self.training))
        return out


@module
class GcnClassifier(NodeClassifier):
    """Graph convolutions with rectifiers between them.

    Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, 2017, arXiv:1609.02907, and,
    with ``residual``, each inner layer added to its input (its appendix B).
    """

    features: int = setting(doc="F, numbers a node has", ge=1)
    classes: int = setting(doc="number of classes", ge=2)
    depth: int = setting(2, "layers", ge=2)
    hidden: int = setting(16, "units of the inner layers", ge=1)
    dropout: float = setting(0.5, "of every layer's input", ge=0, lt=1)
    residual: bool = setting(False, "add each inner layer, but for the first, to its input")

    def __attrs_post_init__(self) -> None:
        widths = [self.features, *[self.hidden] * (self.depth - 1), self.classes]
        self.layers = nn.ModuleList([Gcn(a, b) for a, b in pairwise(widths)])

    def forward(self, graph: State) -> Tensor:
        """Raises ``InvalidInput`` for another number of features."""
        x, adj = self.leaves(graph)
        near = normalised((adj != 0).to(x.dtype))
        for i, layer in enumerate(self.layers):
            inner = 0 < i < self.depth - 1
            out = layer(dropout(x, self.dropout, self.training), near)
            out = out if i == self.depth - 1 else out.relu()
            x = x + out if self.residual and inner else out
        return x
