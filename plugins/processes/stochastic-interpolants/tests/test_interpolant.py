"""The process: its curves, its time, its ends, and the exact fields between mixtures."""

import math

import pytest
import torch
from suffuse_stochastic_interpolants.claims import TransportEquation, every_interpolant
from suffuse_stochastic_interpolants.model import Learned
from suffuse_stochastic_interpolants.ode import Ode
from suffuse_stochastic_interpolants.one_sided import OneSided
from suffuse_stochastic_interpolants.process import Interpolant

from suffuse.contracts.process import as_time
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.testing.interpolants import MixtureBridge, bridge_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle
from suffuse.testing.statistics import covariance_within, mean_within

F64 = torch.float64
DATA = GaussianMixture.random(dim=2, components=3, seed=0)
BASE = GaussianMixture.random(dim=2, components=2, seed=1)
BRIDGE = MixtureBridge(DATA, BASE)
EVERY = every_interpolant()


def name(process):
    return f"{process.shape}-{process.gamma}"


def draws(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return DATA.sample(g, n), BASE.sample(g, n)


def test_which_combinations_there_are():
    assert len(EVERY) == 11  # trigonometric with sine-squared at scale 0.8 is allowed, encoding without noise is not
    with pytest.raises(SpecError, match="gamma < 1"):
        Interpolant(shape="trigonometric", gamma="sine-squared")
    with pytest.raises(SpecError, match="gamma='none'"):
        Interpolant(shape="encoding-decoding", gamma="none")
    with pytest.raises(SpecError, match="scale must be above 0"):
        Interpolant(scale=0.0)


@pytest.mark.parametrize("process", EVERY, ids=name)
def test_the_curves(process):
    """Ends exact; the slopes are the derivatives; the trigonometric shape keeps the variance."""
    a, b, gamma = process.coefficients(as_time([0.0, 1.0]))
    assert a.tolist() == [1, 0]
    assert b.tolist() == [0, 1]
    assert gamma.tolist() == [0, 0]
    assert all(w.isfinite().all() for w in process.slopes(as_time([0.0, 0.5, 1.0])))
    t = torch.linspace(0.03, 0.97, 31, dtype=F64).requires_grad_()
    a, b, gamma = process.coefficients(t)
    for value, slope in zip((a, b, gamma**2 / 2), process.slopes(t.detach()), strict=True):
        found = (
            torch.autograd.grad(value.sum(), t, retain_graph=True)[0] if value.requires_grad else torch.zeros_like(t)
        )
        torch.testing.assert_close(slope, found, rtol=1e-9, atol=1e-12)
    if process.shape == "trigonometric":
        torch.testing.assert_close(a**2 + b**2 + gamma**2, torch.ones_like(t))


def test_the_paper_s_time_runs_the_other_way():
    """Written in the paper's letters: x = I(u) + gamma(u) z with the base at u = 0, at u = 1 - t."""
    x1, x0 = draws(5)  # the paper's x_1 is data
    rng, u = Rng.of(0, 5), 0.3
    made = Interpolant(scale=2.0).corrupt(x1, as_time(1 - u), rng=rng, end=x0)
    by_hand = (1 - u) * x0 + u * x1 + math.sqrt(2 * u * (1 - u)) * made.noise
    torch.testing.assert_close(made.x_t, by_hand)


@pytest.mark.parametrize("process", EVERY, ids=name)
def test_the_marginal_is_the_mixture_of_pairs(process):
    x0, x1 = draws(1500)
    x = process.corrupt(x0, as_time(0.3), rng=Rng.of(3, 1500), end=x1).x_t
    mean, covariance = BRIDGE.marginal(process, 0.3).moments()
    assert mean_within(x, mean)
    assert covariance_within(x, covariance)


def test_b_is_v_less_gamma_gamma_dash_s():
    """Check 2 of the method, with v from a process without noise's slopes but this one's law."""
    process, t = Interpolant(), as_time([0.1, 0.4, 0.5, 0.9])
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    b, score = BRIDGE.fields(process, x, t)

    class Still:
        coefficients = process.coefficients

        def slopes(self, t):
            da, db, product = process.slopes(t)
            return da, db, torch.zeros_like(product)

    v, same = BRIDGE.fields(Still(), x, t)
    torch.testing.assert_close(score, same)
    torch.testing.assert_close(b, v - process.slopes(t)[2][:, None] * score, rtol=1e-10, atol=1e-12)
    eta = -process.coefficients(t)[2][:, None] * score
    common = {"x_t": x, "t": t, "process": process}
    for drift, value in (("b", b), ("v", v)):
        for noise, second in (("eta", eta), ("score", score)):
            read = Learned(value=value, second=second, drift=drift, noise=noise, **common)
            torch.testing.assert_close(read.velocity, b, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(read.score, score, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(read.index(slice(1, 3)).velocity, b[1:3], rtol=1e-10, atol=1e-12)


def test_eta_is_the_mean_of_the_noise():
    """By Monte Carlo: the exact velocity is the regression of x', so the residual has no correlation with any f(x)."""
    n, t, process = 40_000, as_time(0.35), Interpolant()
    x0, x1 = draws(n)
    made = process.corrupt(x0, t, rng=Rng.of(0, n), end=x1)
    (da, db, product), (_, _, gamma) = process.slopes(t), process.coefficients(t)
    b, score = BRIDGE.fields(process, made.x_t, t)
    for residual in (da * x0 + db * x1 + product / gamma * made.noise - b, made.noise + gamma * score):
        for f in (torch.ones_like(b), torch.sin(made.x_t), torch.cos(2 * made.x_t.flip(1))):
            assert mean_within(residual * f, 0.0)


def test_the_transport_equation():
    claim = TransportEquation()
    assert claim.measure(0).effect > 0
    assert claim.measure(0, sabotage=True).effect < 0


def test_the_mirror_is_the_linear_shape_with_one_row_at_both_ends():
    x, _ = draws(4)
    made = Interpolant().corrupt(x, as_time(0.3), rng=Rng.of(0, 4), end=x)
    torch.testing.assert_close(made.x_t, x + math.sqrt(0.21) * made.noise)


def test_what_is_refused_at_the_ends():
    process, x = Interpolant(), torch.zeros(2, 2, dtype=F64)
    with pytest.raises(InvalidInput, match="expected end"):
        process.corrupt(x, as_time(0.5), rng=Rng.of(0, 2))
    with pytest.raises(InvalidInput, match="the other end must have the shape"):
        process.corrupt(x, as_time(0.5), rng=Rng.of(0, 2), end=x[:, :1])
    at_end = {"value": x, "x_t": x, "t": as_time([0.5, 1.0]), "process": process}
    for drift, what in (("b", "score"), ("v", "velocity")):
        read = Learned(**at_end, second=x, drift=drift, noise="eta")
        with pytest.raises(Unsupported, match=f"{what} does not follow from eta"):
            getattr(read, what)
    assert Learned(**at_end, second=x, drift="v", noise="score").velocity.isfinite().all()
    with pytest.raises(Unsupported, match="has no score"):
        getattr(Learned(**at_end, drift="b", noise="eta"), "score")  # noqa: B009
    with pytest.raises(Unsupported, match="no prior"):
        bridge_system(DATA, BASE, process, sampler=Ode()).sample(2)


def test_one_sided_trigonometric_is_variance_preserving_diffusion():
    """Check 3 of the method: cos and sin, with the Gaussian end as the noise."""
    t = torch.linspace(0, 1, 11, dtype=F64)
    for mine, other in zip(OneSided(shape="trigonometric").scalars(t), Circle().scalars(t), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-15)
    for shape in ("trigonometric", "score-based"):
        alpha, sigma = OneSided(shape=shape).scalars(t)
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    with pytest.raises(Unsupported, match="no finite sigma"):
        OneSided(shape="score-based").derivative(as_time(0.0))
