"""What the rules for linear processes find in processes that are wrong."""

import attrs
import torch

from suffuse.contracts.law import Normal
from suffuse.contracts.process import Corruption, LinearGaussian, Sde, as_time
from suffuse.state import combine, leaves
from suffuse.testing import check
from suffuse.testing.stand_ins import Circle


def failures(part):
    return {r.check for r in check(part) if r.status == "failed" and r.check in ("linear", "moments", "states")}


@attrs.frozen(kw_only=True)
class Turning(LinearGaussian, Sde):
    """``dx = c A x dt + sqrt(2) dw`` in three dimensions, ``A = W - 1``: covariance ``1 - exp(-2 t)``, turned means."""

    drifting: float = 1.0
    scoring: float = -1.0
    noising: float = 2.0**0.5

    def _turn(self, x, t):
        W = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 2.0], [0.0, -2.0, 0.0]], dtype=x.dtype)
        return torch.einsum("...ij,...j->...i", torch.linalg.matrix_exp((W - torch.eye(3)) * t), x)

    def _sigma(self, t):
        return (-torch.expm1(-2 * as_time(t))).sqrt()

    def mean(self, x0, t):
        return self._turn(x0, as_time(t).reshape(*as_time(t).shape, 1, 1))

    def spread(self, eps, t):
        return combine(self._sigma(t), eps, 0.0, eps)

    def whiten(self, r, t):
        return combine(1 / self._sigma(t), r, 0.0, r)

    def score(self, eps, t):
        return combine(self.scoring / self._sigma(t), eps, 0.0, eps)

    def prior(self, like, cond=None, *, t=1.0):
        return Normal(torch.zeros_like(like), self._sigma(t))

    def drift(self, x, t):
        W = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 2.0], [0.0, -2.0, 0.0]], dtype=x.dtype)
        return self.drifting * x @ (W - torch.eye(3)).T

    def diffusion(self, t):
        return self.noising


def test_a_correct_one_passes():
    assert failures(Turning()) == set()


def test_a_wrong_score_drift_or_diffusion_is_found():
    assert failures(Turning(scoring=1.0)) == {"linear"}
    assert failures(Turning(drifting=0.5)) == {"moments"}
    assert failures(Turning(noising=1.0)) == {"moments"}


def test_noise_that_was_not_used_is_found():
    @attrs.frozen(kw_only=True)
    class Other(Circle):
        def corrupt(self, x0, t, *, rng, end=None):
            made = Circle.corrupt(self, x0, t, rng=rng, end=end)
            noise = next(v for _, v in leaves(made.noise))
            return Corruption(made.x_t, x0, made.t, noise=noise.flip(1))

    assert failures(Other()) == {"linear"}
