"""The paper's toy on graphs: each node feature is tied to one edge, and the scores are known exactly."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from suffuse_ddpm.linear import Linear
from suffuse_graph_sets.space import Graphs, leaves_of
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Noise
from suffuse.contracts.process import Process, as_time
from suffuse.contracts.sampler import Sampler
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse_gdss.process import GraphSystem

__all__ = ["SPACE", "PairScores", "pairs_of", "pairs_system", "truth"]

# 9 nodes of 4 features and 36 pairs of nodes: feature k of the list is tied to pair k.
SPACE = Graphs(nodes=9, features=4)
_VARIANCE = 0.01


def pairs_of(x: State) -> Tensor:
    """``(B, 36, 2)``: each feature beside its edge."""
    nodes, adj, _ = leaves_of(x)
    rows, columns = torch.tril_indices(9, 9, -1)
    return torch.stack([nodes.flatten(1), adj[:, rows, columns]], dim=2)


def truth(n: int, mean: float, correlation: float, generator: torch.Generator) -> Tensor:
    """n pairs of the law, ``(n, 2)``."""
    z = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    root = torch.linalg.cholesky(torch.tensor([[1.0, correlation], [correlation, 1.0]]).double() * _VARIANCE)
    sign = 2.0 * torch.randint(2, (n, 1), generator=generator) - 1
    return sign * mean + z @ root.T


@module
class PairScores(Denoiser):
    """Pairs ``(x, a)`` from ``1/2 N(m, C) + 1/2 N(-m, C)``, m = (mean, mean), C = 0.01 [[1, r], [r, 1]].

    ``joint`` gives the scores of the joint law of both; otherwise those of each one's own law, as two diffusions that
    do not see each other have them (Jo et al. 2022, arXiv:2202.02514, figure 1 and the toy of its code).
    """

    provides: ClassVar[frozenset[str]] = frozenset({"noise"})
    needs: ClassVar[frozenset[str]] = frozenset({"graph-system"})

    mean: float = setting(0.5, "the modes' coordinates are plus and minus this", ge=0)
    correlation: float = setting(0.9, "r, within a mode", gt=-1, lt=1)
    joint: bool = setting(True, "whether each score sees the other coordinate")

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
        """``eps = -sigma score`` of both coordinates; one time for all samples."""
        assert isinstance(process, GraphSystem)
        k = process.kernel(as_time(t))
        alpha, sigma = (torch.stack([cast(dict[str, Tensor], w)[n] for n in ("x", "adj")]) for w in (k.alpha, k.sigma))
        covariance = _VARIANCE * alpha[:, None] * alpha * torch.tensor([[1, self.correlation], [self.correlation, 1]])
        covariance = covariance + torch.diag(sigma**2)
        if not self.joint:
            covariance = torch.diag(covariance.diagonal())
        y = pairs_of(x_t).double()
        precision, center = torch.linalg.inv(covariance), self.mean * alpha
        # log N(y; c) - log N(y; -c) of a Gaussian mixture of two opposite modes.
        odds = 2 * y * (precision @ center) if not self.joint else 2 * (y @ precision @ center)[..., None]
        expected = center * torch.tanh(odds / 2)
        eps = (sigma * ((y - expected) @ precision)).to(x_t["x"].dtype)  # type: ignore[call-overload]
        nodes, adj, mask = leaves_of(x_t)
        rows, columns = torch.tril_indices(9, 9, -1)
        lower = torch.zeros_like(adj)
        lower[:, rows, columns] = eps[:, :, 1]
        value = {"x": eps[:, :, 0].reshape(nodes.shape), "adj": lower + lower.mT, "mask": torch.zeros_like(mask)}
        return Noise(value=value, x_t=x_t, t=as_time(t), process=process)


def pairs_system(sampler: Sampler, *, mean: float = 0.5, correlation: float = 0.9, joint: bool = True) -> System:
    """The toy under VP with beta from 0.1 to 20, whose end has next to no signal, so that N(0, I) is its prior."""
    end = Linear(beta_min=0.1, beta_max=20.0)
    model = PairScores(mean=mean, correlation=correlation, joint=joint)
    return System(model=model, space=SPACE, process=GraphSystem(x=end, adj=end), sampler=sampler)
