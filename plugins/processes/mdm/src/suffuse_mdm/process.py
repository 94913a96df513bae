"""The process with given matrices, and the one that learns them."""

from __future__ import annotations

import math

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.contracts.part import module, setting
from suffuse.contracts.process import Learned, LinearGaussian, Sde
from suffuse.errors import SpecError
from suffuse_mdm.kernel import Multivariate

__all__ = ["LearnedSde", "LinearSde"]

Matrix = tuple[tuple[float, ...], ...]

_LEAST = 1e-3  # of the eigenvalues of a learned D, so that noise reaches every variable


def _square(rows: Matrix) -> str | None:
    good = isinstance(rows, tuple | list) and len(rows) > 0 and all(len(r) == len(rows) for r in rows)
    good = good and all(math.isfinite(v) for r in rows for v in r)
    return None if good else f"expected a square matrix of finite numbers, got {rows!r}"


def _antisymmetric(rows: Matrix) -> str | None:
    if wrong := _square(rows):
        return wrong
    q = torch.tensor(rows, dtype=torch.float64)
    return None if torch.equal(q, -q.T) else f"expected an antisymmetric matrix, got {rows!r}"


def _semidefinite(rows: Matrix) -> str | None:
    if wrong := _square(rows):
        return wrong
    d = torch.tensor(rows, dtype=torch.float64)
    good = torch.equal(d, d.T) and bool((torch.linalg.eigvalsh(d) >= -1e-12 * (1 + d.abs().max())).all())
    return None if good else f"expected a positive semidefinite matrix, got {rows!r}"


_BETA_MIN = "the rate at t = 0"
_BETA_MAX = "the rate at t = 1"
_M = "the prior's variance of every auxiliary variable"
_V0 = "the variance that auxiliary variables begin with; 0 conditions on zeros"


@attrs.frozen(kw_only=True)
class LinearSde(Multivariate, LinearGaussian, Sde):
    """The multivariate diffusion of given matrices Q and D: see ``Multivariate``, and for known ones the presets.

    The defaults are critically damped Langevin diffusion (Dockhorn et al. 2022, arXiv:2112.07068) with M = 1 on the
    rates of the released configurations of arXiv:2302.07261.
    """

    Q: Matrix = setting(((0.0, -1.0), (1.0, 0.0)), "an antisymmetric matrix: how variables turn", check=_antisymmetric)
    D: Matrix = setting(((0.0, 0.0), (0.0, 2.0)), "a positive semidefinite matrix: friction", check=_semidefinite)
    beta_min: float = setting(0.1, _BETA_MIN, gt=0, lt=math.inf)
    beta_max: float = setting(10.0, _BETA_MAX, gt=0, lt=math.inf)
    M: float = setting(1.0, _M, gt=0, lt=math.inf)
    v0_variance: float = setting(0.01, _V0, ge=0, lt=math.inf)

    def __attrs_post_init__(self) -> None:
        if len(self.Q) != len(self.D):
            raise SpecError(f"Q and D must be of one size, got {len(self.Q)} and {len(self.D)} rows")

    @property
    def K(self) -> int:
        """The number of variables."""
        return len(self.Q)

    def drift_and_noise(self) -> tuple[Tensor, Tensor]:
        """``(Q, D)``."""
        return torch.tensor(self.Q, dtype=torch.float64), torch.tensor(self.D, dtype=torch.float64)


@module
class LearnedSde(Multivariate, Learned, LinearGaussian, Sde):
    """The multivariate diffusion whose Q and D are trained with the model, by the same bound.

    ``Q = W - W^T``, ``D = diag(softplus(d) + 0.001)``, or ``V V^T + 0.001 I`` where it is full (arXiv:2302.07261,
    section 4). With ``trace`` D is scaled to it: without, more noise in the same time tightens the prior's term for
    any process. W and V begin uniform on ``1/sqrt(K) [-1, 1]``, as the layers of torch do, and so does d.
    """

    variables: int = setting(2, "K, data included", ge=1)
    full: bool = setting(False, "a full D in place of a diagonal one")
    trace: float | None = setting(None, "the trace of D; by default D is free", gt=0, lt=math.inf)
    beta_min: float = setting(0.1, _BETA_MIN, gt=0, lt=math.inf)
    beta_max: float = setting(10.0, _BETA_MAX, gt=0, lt=math.inf)
    M: float = setting(1.0, _M, gt=0, lt=math.inf)
    v0_variance: float = setting(0.01, _V0, ge=0, lt=math.inf)

    def __attrs_post_init__(self) -> None:
        k, bound = self.variables, self.variables**-0.5
        self.W = nn.Parameter(torch.empty(k, k).uniform_(-bound, bound))
        self.V = nn.Parameter(torch.empty(*((k, k) if self.full else (k,))).uniform_(-bound, bound))

    @property
    def K(self) -> int:
        """The number of variables."""
        return self.variables

    def drift_and_noise(self) -> tuple[Tensor, Tensor]:
        """``(Q, D)``, differentiable in the parameters."""
        W, V = self.W.double(), self.V.double()
        eye = torch.eye(self.K, dtype=torch.float64, device=V.device)
        D = V @ V.mT + _LEAST * eye if self.full else torch.diag(F.softplus(V) + _LEAST)
        if self.trace is not None:
            D = D * (self.trace / D.trace())
        return W - W.mT, D
