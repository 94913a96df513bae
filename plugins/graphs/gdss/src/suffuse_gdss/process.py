"""Two stochastic differential equations, one on the nodes and one on the edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, cast

import attrs
import torch
from suffuse_ddpm.linear import Linear
from suffuse_graph_sets.law import GraphNormal
from suffuse_graph_sets.space import graph_noise, leaves_of
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Law
from suffuse.contracts.part import setting
from suffuse.contracts.process import Corruption, Gaussian, Kernel, LinearGaussian, Sde, as_time
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, combine, promote, require, tree_map

__all__ = ["Coefficients", "GraphPrior", "GraphSystem", "each"]

# One for each leaf: that of the mask says that the mask does not change.
Coefficients = dict[str, float | Tensor]


def each(f: Callable[..., float | Tensor], *weights: Mapping[str, float | Tensor]) -> Coefficients:
    """``f`` of the coefficients of each leaf."""
    return {name: f(*(w[name] for w in weights)) for name in weights[0]}


def _sizes(law: tuple[float, ...]) -> str | None:
    good = not law or (min(law) >= 0 and math.isfinite(sum(law)) and sum(law) > 0)
    return None if good else f"expected probabilities, not all zero, got {list(law)}"


@attrs.frozen(kw_only=True)
class GraphSystem(LinearGaussian, Sde):
    """``dX = f_1 X dt + g_1 dw_1`` and ``dA = f_2 A dt + g_2 dw_2``, the noise on A symmetric, both masked.

    Jo et al., Score-based Generative Modeling of Graphs via the System of SDEs, 2022, arXiv:2202.02514, eq. 1 and 3.
    Forward in time nodes and edges do not see each other; backward they are coupled by the scores of their joint law.
    Each of them is any Gaussian process; the default is the paper's for small graphs, VP with beta from 0.1 to 1, which
    leaves at t = 1 three quarters of the signal's scale. Sampling starts from the two processes' own priors, for VP
    N(0, I), as published.

    Which nodes exist does not change with time. A prior takes their number from the condition's ``nodes`` ``(B,)``,
    integers from 1 to N, else draws it with the probabilities ``sizes``, else takes N.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"graph-system"})
    needs: ClassVar[frozenset[str]] = frozenset({"graphs"})

    x: Gaussian = setting(factory=lambda: Linear(beta_min=0.1, beta_max=1.0), doc="the process of the nodes")
    adj: Gaussian = setting(factory=lambda: Linear(beta_min=0.1, beta_max=1.0), doc="the process of the edges")
    sizes: tuple[float, ...] = setting((), "probabilities of 1, 2, ... nodes; empty for all N", check=_sizes)

    def kernel(self, t: Tensor) -> Kernel:
        """``(alpha_t, sigma_t)`` of each leaf; the mask's are (1, 0)."""
        x, adj = self.x.scalars(as_time(t)), self.adj.scalars(as_time(t))
        return Kernel({"x": x[0], "adj": adj[0], "mask": 1.0}, {"x": x[1], "adj": adj[1], "mask": 0.0})

    def transition(self, t: Tensor, s: Tensor) -> tuple[Coefficients, Coefficients]:
        """``(alpha_ts, sigma_ts)`` of the forward kernel ``q(x_t | x_s)``, s < t, of each leaf."""
        x, adj = self.x.transition(as_time(t), as_time(s)), self.adj.transition(as_time(t), as_time(s))
        alpha = {"x": x.alpha, "adj": adj.alpha, "mask": 1.0}
        return alpha, {"x": x.sigma, "adj": adj.sigma, "mask": 0.0}  # type: ignore[return-value,dict-item]

    def mean(self, x0: State, t: Tensor) -> State:
        """``alpha_t X_0``, ``alpha_t A_0``, and the mask."""
        return combine(self.kernel(t).alpha, x0, 0.0, x0)

    def spread(self, eps: State, t: Tensor) -> State:
        """``sigma_t eps``; nothing on the mask."""
        return combine(self.kernel(t).sigma, eps, 0.0, eps)

    def whiten(self, r: State, t: Tensor) -> State:
        """``r / sigma_t``; nothing on the mask. ``Unsupported`` where sigma is zero."""
        return combine(self._inverse(t, 1.0), r, 0.0, r)

    def score(self, eps: State, t: Tensor) -> State:
        """``-eps / sigma_t``; nothing on the mask. ``Unsupported`` where sigma is zero."""
        return combine(self._inverse(t, -1.0), eps, 0.0, eps)

    def _inverse(self, t: Tensor, sign: float) -> Coefficients:
        sigma = {name: p.scalars(as_time(t))[1] for name, p in (("x", self.x), ("adj", self.adj))}
        for value in sigma.values():
            require(value != 0, "there is no score at zero noise: stop before t = 0")
        return {"x": sign / sigma["x"], "adj": sign / sigma["adj"], "mask": 0.0}

    def drift(self, x: State, t: Tensor) -> State:
        """Each leaf's own; nothing on the mask."""
        nodes, adj, mask = leaves_of(x)
        moved = self.x.drift(nodes, t), self.adj.drift(adj, t)
        return {"x": cast(Tensor, moved[0]), "adj": cast(Tensor, moved[1]), "mask": torch.zeros_like(mask)}

    def diffusion(self, t: Tensor) -> Coefficients:
        """``g_1``, ``g_2``, and 0 for the mask."""
        g = self.x.diffusion(as_time(t)), self.adj.diffusion(as_time(t))
        return {"x": g[0], "adj": g[1], "mask": 0.0}

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """Symmetric, masked noise from the stream ``noise``; its mask leaf is zero, for noise moves no mask."""
        t, x0 = as_time(t), tree_map(promote, x0)
        drawn = graph_noise(x0, rng.at("noise"))
        noise = {**drawn, "mask": torch.zeros_like(drawn["mask"])}
        return Corruption(combine(1.0, self.mean(x0, t), 1.0, self.spread(noise, t)), x0, t, noise=noise, end=end)

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Law:
        """The two priors, on as many nodes as the condition or ``sizes`` say. ``InvalidInput`` for more than N."""
        nodes, adj, mask = leaves_of(like)
        most = mask.shape[1]
        std = {name: p.prior(v, t=t).std for name, p, v in (("x", self.x, nodes), ("adj", self.adj, adj))}  # type: ignore[attr-defined]
        given = cond["nodes"] if cond is not None and "nodes" in cond else None
        if given is not None and bool(((given < 1) | (given > most)).any()):
            raise InvalidInput(f"expected 1 to {most} nodes, got {int(given.min())} to {int(given.max())}")
        if len(self.sizes) > most and any(self.sizes[most:]):
            raise InvalidInput(f"sizes has graphs of up to {len(self.sizes)} nodes, the space only {most}")
        return GraphPrior(like=tree_map(promote, like), std=std, sizes=self.sizes[:most], nodes=given)


@attrs.frozen(eq=False, kw_only=True)
class GraphPrior(Law):
    """Numbers of nodes, given or drawn (stream ``nodes``), and centred Gaussians on that many."""

    like: State
    std: Mapping[str, float | Tensor]
    sizes: tuple[float, ...] = ()
    nodes: Tensor | None = None

    def sample(self, rng: Rng) -> State:
        """The first n nodes are there."""
        x, adj, mask = leaves_of(self.like)
        places = torch.arange(mask.shape[1], device=mask.device)
        if self.nodes is not None:
            count = self.nodes.to(mask.device)
        elif self.sizes:
            law = torch.tensor(self.sizes, dtype=torch.float64, device=mask.device).log()
            count = 1 + rng.at("nodes").categorical(law.expand(len(mask), -1))
        else:
            count = torch.full((len(mask),), len(places), device=mask.device)
        there = (places < count[:, None]).to(mask.dtype)
        mean = {"x": torch.zeros_like(x), "adj": torch.zeros_like(adj), "mask": there}
        return GraphNormal(mean, self.std).sample(rng)

    def log_prob(self, x: State) -> Tensor:
        """The number of nodes' log-probability, and the density of what is on them."""
        nodes, adj, mask = leaves_of(x)
        mean = {"x": torch.zeros_like(nodes), "adj": torch.zeros_like(adj), "mask": mask}
        found, count = GraphNormal(mean, self.std).log_prob(x), mask.sum(1).long()
        if self.nodes is not None:
            return torch.where(count == self.nodes.to(count.device), found, -math.inf)
        if not self.sizes:
            return torch.where(count == mask.shape[1], found, -math.inf)
        law = found.new_tensor((0.0, *self.sizes, *(0.0,) * (mask.shape[1] - len(self.sizes))))
        return found + (law / law.sum()).log()[count]
