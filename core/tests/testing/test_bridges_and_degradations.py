"""The rules for bridges and degradations tell the good from the broken; the exact bridge is the mixtures'."""

import attrs
import pytest
import torch

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.part import setting
from suffuse.contracts.process import Bridge, Corruption, Degradation, Process, as_time
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import combine, promote
from suffuse.testing.conformance import Subject, run_check
from suffuse.testing.interpolants import MixtureBridge, bridge_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import covariance_within, mean_within

F64 = torch.float64


@attrs.frozen(kw_only=True)
class Brownian(Process, Bridge):
    """``(1 - t) x_0 + t x_1 + sqrt(t (1 - t)) z``, with faults on request."""

    fault: str = setting("", "what is wrong")

    def coefficients(self, t):
        return 1 - t, t, (t * (1 - t)).sqrt()

    def slopes(self, t):
        return -torch.ones_like(t), torch.ones_like(t), (1 - 2 * t) / 2

    def between(self, x0, x1, t):
        a, b, width = self.coefficients(as_time(t))
        if self.fault == "narrow":
            width = width * 0.9
        if self.fault == "short":
            b = 0.99 * b
        return Normal(combine(a, x0, b, x1), width)

    def corrupt(self, x0, t, *, rng, end=None):
        if end is None and self.fault != "endless":
            raise InvalidInput("a bridge needs its other end, got none")
        end = x0 if end is None else end
        a, b, width = self.coefficients(as_time(t))
        rows = rng.pool() if self.fault == "together" else rng
        z = rows.at("noise").normal(promote(x0)[: rows.size]).expand_as(x0)
        return Corruption(combine(1.0, combine(a, x0, b, end), width, z), x0, as_time(t), noise=z, end=end)

    def prior(self, like, cond=None, *, t=1.0):
        return None


@attrs.frozen(kw_only=True)
class Fade(Process, Degradation):
    """``(1 - t) x + t e`` with e drawn once, and faults on request."""

    fault: str = setting("", "what is wrong")

    def degrade(self, x0, t, *, end=None):
        t = as_time(t)
        share = 0.1 + 0.9 * t if self.fault == "late" else t
        e = x0.mean(0, keepdim=True).expand_as(x0) if self.fault == "together" else end
        return combine(1 - share, x0, share, e)

    def corrupt(self, x0, t, *, rng, end=None):
        e = rng.at("end").normal(promote(x0))
        told = e + 1 if self.fault == "untold" else e
        return Corruption(self.degrade(x0, t, end=e), x0, as_time(t), end=told)

    def prior(self, like, cond=None, *, t=1.0):
        return None


def result(part, name):
    return run_check(Subject(kind="process", given=part), name)


@pytest.mark.parametrize("name", ["bridge", "replay", "broadcast", "batch-invariance", "float64", "half", "purity"])
def test_a_good_bridge_passes(name):
    assert result(Brownian(), name).status == "passed"


@pytest.mark.parametrize(
    ("fault", "name", "told"),
    [
        ("narrow", "bridge", "second moments"),
        ("short", "bridge", "off its end"),
        ("endless", "bridge", "is accepted"),
        ("together", "batch-invariance", "rows 2 and 3"),
    ],
)
def test_a_broken_bridge_does_not(fault, name, told):
    found = result(Brownian(fault=fault), name)
    assert found.status == "failed"
    assert told in found.reason


def test_a_good_degradation_passes_and_is_no_bridge():
    assert result(Fade(), "degradation").status == "passed"
    assert result(Fade(), "bridge").status == result(Brownian(), "degradation").status == "exempt"


@pytest.mark.parametrize(
    ("fault", "told"), [("late", "D(x, 0) is off x"), ("untold", "not D(x_0, t)"), ("together", "row 1")]
)
def test_a_broken_degradation_does_not(fault, told):
    found = result(Fade(fault=fault), "degradation")
    assert found.status == "failed"
    assert told in found.reason


def test_the_exact_bridge_is_that_of_the_draws():
    """Moments of x_t, and the velocity as the regression of x': the residual is uncorrelated with functions of x_t."""
    data, base = (GaussianMixture.random(dim=2, components=k, seed=k) for k in (3, 2))
    bridge, process, n = MixtureBridge(data, base), Brownian(), 20_000
    g = torch.Generator().manual_seed(0)
    x0, x1, t = data.sample(g, n), base.sample(g, n), as_time(0.3)
    made = process.corrupt(x0, t, rng=Rng.of(0, n), end=x1)
    mean, covariance = bridge.marginal(process, t).moments()
    assert mean_within(made.x_t, mean)
    assert covariance_within(made.x_t, covariance)
    velocity, score = bridge.fields(process, made.x_t, t)
    residual = x1 - x0 + 0.2 / 0.21**0.5 * made.noise - velocity
    assert mean_within(residual * torch.cos(made.x_t), 0.0)
    assert mean_within(made.noise + 0.21**0.5 * score, 0.0)
    torch.testing.assert_close(score, bridge.marginal(process, t).score(made.x_t))
    each = t.expand(n)
    for one, other in zip(bridge.fields(process, made.x_t, each), (velocity, score), strict=True):
        torch.testing.assert_close(one, other)


def test_an_exact_field_is_finite_at_both_ends():
    law = GaussianMixture.single([0.0], 0.5)
    system = bridge_system(law, GaussianMixture.single([2.0], 1.0), Brownian())
    for t in (0.0, 1.0):
        found = system.denoise(torch.zeros(2, 1), as_time(t), Condition())
        assert found.velocity.isfinite().all()
        assert found.score.isfinite().all()
    with pytest.raises(InvalidInput, match="one dimension"):
        MixtureBridge(law, GaussianMixture.ring())
