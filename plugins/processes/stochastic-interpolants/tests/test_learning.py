"""Objectives and learned fields."""

import pytest
import torch
from suffuse_mlp.backbone import Mlp
from suffuse_stochastic_interpolants.model import Fields
from suffuse_stochastic_interpolants.objective import Quadratic
from suffuse_stochastic_interpolants.process import Interpolant
from suffuse_stochastic_interpolants.sde import Sde

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.interpolants import MixtureBridge
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import LinearNet

F64 = torch.float64
KINDS = [("b", "eta"), ("b", "score"), ("v", "eta"), ("v", "score")]


def linear(process, *, second=True, **kinds):
    """Networks that are no optimum."""
    with seeded(0):
        nets = {"drift_net": LinearNet().double(), "noise_net": LinearNet().double() if second else None}
    return System(model=Fields(**nets, **kinds), process=process, space=Euclidean(shape=(2,)))


def pairs(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    x, end = torch.randn(2, n, 2, generator=g, dtype=F64)
    return Batch(x=x, end=end, cond=Condition(), index=torch.arange(n))


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize(("drift", "noise"), KINDS)
def test_the_losses_as_published(drift, noise, antithetic):
    n, process = 16, Interpolant(shape="trigonometric")
    system, batch, rng = linear(process, drift=drift, noise=noise), pairs(16), Rng.of(3, 16)
    objective = Quadratic(antithetic=antithetic, margin=0.05)
    loss = objective.loss("model", batch, system, {}, rng)
    t = 0.05 + 0.9 * rng.at("times").uniform(torch.empty(n, dtype=F64), open_interval=True)
    z = rng.at("noise", "").normal(batch.x)
    a, b, gamma = (w[:, None] for w in process.coefficients(t))
    da, db, product = (w[:, None] for w in process.slopes(t))
    middle, slope = a * batch.x + b * batch.end, da * batch.x + db * batch.end

    def at(sign):
        x = middle + sign * gamma * z
        f, g = (net(x, t, Condition()) for net in (system.model.drift_net, system.model.noise_net))
        first = f**2 / 2 - (slope + (sign * product / gamma * z if drift == "b" else 0)) * f
        second = g**2 / 2 + (-sign * z if noise == "eta" else sign * z / gamma) * g
        return {drift: first.mean(1), noise: second.mean(1)}

    plus, minus = at(1), at(-1)
    total = sum((plus[k] + minus[k]) / 2 if antithetic and k in ("b", "score") else plus[k] for k in (drift, noise))
    torch.testing.assert_close(loss.per_sample, total)
    assert set(loss.logs) == {drift, noise}


def test_without_noise_it_is_flow_matching():
    """Check 3 of the method: |b - (x_1 - x_0)|^2/2 up to what does not depend on b."""
    system, batch, rng = linear(Interpolant(gamma="none"), second=False), pairs(16), Rng.of(3, 16)
    loss = Quadratic().loss("model", batch, system, {}, rng).per_sample
    t = rng.at("times").uniform(torch.empty(16, dtype=F64), open_interval=True)
    goal = batch.end - batch.x
    b = system.model.drift_net((1 - t[:, None]) * batch.x + t[:, None] * batch.end, t, Condition())
    torch.testing.assert_close(loss, ((b - goal) ** 2 - goal**2).mean(1) / 2)


@pytest.mark.parametrize("noise", ["eta", "score"])
def test_antithetic_losses_stay_bounded_at_the_ends(noise, monkeypatch):
    """Next to t = 0 gamma' and 1/gamma are about 1e4, and the plain losses of b and s are as large."""
    system, batch = linear(Interpolant(), noise=noise), pairs(200)
    monkeypatch.setattr(Rng, "uniform", lambda self, like, **_: torch.full_like(like, 1e-8))
    for antithetic in (True, False):
        loss = Quadratic(antithetic=antithetic).loss("model", batch, system, {}, Rng.of(0, 200)).per_sample
        size = float(loss.detach().abs().max())
        assert size < 100 if antithetic else size > 1000


def test_training_finds_the_exact_fields():
    """150 steps explain four fifths of b and of eta in the mean square, and the samples have the data's spread."""
    data = GaussianMixture(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor(0.2))
    base, process = GaussianMixture.single([0.0, -1.0], 0.5), Interpolant()
    g = torch.Generator().manual_seed(0)
    rows = rows_of(data.sample(g, 4000).float(), end=base.sample(g, 4000).float())
    with seeded(0):
        nets = [Mlp(width=48, depth=1, frequencies=8) for _ in range(2)]
    model = Fields(drift_net=nets[0], noise_net=nets[1])
    system = System(model=model, process=process, space=Euclidean(shape=(2,)), sampler=Sde(steps=50, eps=0.5))
    fit(system, Quadratic(), rows, steps=150, batch=128, seed=0, learning_rate=3e-3, decay=True)
    t = torch.rand(2000, generator=g, dtype=F64) * 0.8 + 0.1
    x0, x1 = data.sample(g, 2000), base.sample(g, 2000)
    x = process.corrupt(x0, t, rng=Rng.of(0, 2000), end=x1).x_t
    b, score = MixtureBridge(data, base).fields(process, x, t)
    eta = -process.coefficients(t)[2][:, None] * score
    found = system.plain(x.float(), t, Condition())
    for got, exact in ((found.velocity, b), (found.second, eta)):
        assert float((got - exact).square().mean() / exact.square().mean()) < 0.2
    samples = system.sample(start=base.sample(g, 1000).float(), seed=0)
    mean, covariance = data.moments()
    assert (samples.mean(0) - mean).abs().max() < 0.15
    assert (torch.cov(samples.T.double()) - covariance).abs().max() < 0.25


def test_bad_input():
    system, rng = linear(Interpolant()), Rng.of(0, 4)
    batch = pairs(4)
    for bad in (None, Batch(x=batch.x, cond=Condition(), index=batch.index)):
        with pytest.raises(InvalidInput, match="expected a batch with end"):
            Quadratic().loss("model", bad, system, {}, rng)
    with pytest.raises(SpecError, match="v alone gives no velocity"):
        Fields(drift_net=LinearNet(), drift="v")
    with pytest.raises(Unsupported, match="no eta and no score to learn"):
        Quadratic().loss("model", batch, linear(Interpolant(gamma="none")), {}, rng)
    with pytest.raises(InvalidInput, match="no condition"):
        system.check(Condition(label=torch.zeros(2, dtype=torch.long)))
