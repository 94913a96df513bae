"""Samplers and likelihood, with exact fields."""

import attrs
import pytest
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_edm.deterministic import Heun
from suffuse_edm.grid import Rho
from suffuse_stochastic_interpolants.claims import AnyDiffusion, ExactLikelihood
from suffuse_stochastic_interpolants.likelihood import Likelihood
from suffuse_stochastic_interpolants.model import Fields
from suffuse_stochastic_interpolants.ode import Ode
from suffuse_stochastic_interpolants.one_sided import OneSided
from suffuse_stochastic_interpolants.process import Interpolant
from suffuse_stochastic_interpolants.sde import Sde

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError
from suffuse.parts import Stop, Uniform
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.interpolants import bridge_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, LinearNet
from suffuse.testing.statistics import compare, covariance_within, mean_within

F64 = torch.float64
DATA = GaussianMixture.ring(4, radius=1.5, std=0.4)
BASE = GaussianMixture.random(dim=2, components=2, seed=1)


def starts(n, seed=0):
    return BASE.sample(torch.Generator().manual_seed(seed), n)


@pytest.mark.parametrize(
    ("process", "sampler"),
    [
        (Interpolant(), Ode(steps=30)),
        (Interpolant(shape="trigonometric"), Sde(steps=60, eps=0.3, shape="arch")),
        (Interpolant(shape="encoding-decoding", gamma="sine-squared"), Ode(steps=30)),
        (Interpolant(gamma="none"), Ode(steps=20, order=4)),
        (Interpolant(scale=2.0), Sde(steps=100, eps=0.5)),
    ],
    ids=["ode", "trig-sde", "coded-ode", "rectified", "sde"],
)
def test_the_base_is_carried_to_the_data(process, sampler):
    """Check 1 of the method: 400 samples pass a permutation test against the exact mixture."""
    x = bridge_system(DATA, BASE, process, sampler=sampler).sample(start=starts(400), seed=1, dtype=F64)
    true = DATA.sample(torch.Generator().manual_seed(5), 400)
    assert compare(x, true, "energy", permutations=500, seed=0).p_value > 1e-3


def test_data_are_carried_to_the_base():
    x = DATA.sample(torch.Generator().manual_seed(5), 1000)
    system = bridge_system(DATA, BASE, Interpolant(), sampler=Sde(eps=0.5))
    end = system.sample(start=x, times=torch.linspace(0, 1, 101, dtype=F64), seed=1, dtype=F64)
    mean, covariance = BASE.moments()
    # The bias of Euler-Maruyama, about 1/100, is below the standard errors of about 1/30.
    assert mean_within(end, mean)
    assert covariance_within(end, covariance)


def test_the_ode_goes_back_to_where_it_came_from():
    system = bridge_system(DATA, BASE, Interpolant(), sampler=Ode(steps=100, order=4))
    x, up = starts(20), torch.linspace(0, 1, 101, dtype=F64)
    back = system.sample(start=system.sample(start=x, dtype=F64), times=up, dtype=F64)
    assert (back - x).abs().max() < 1e-4  # order 4 at 1/100, times slopes of up to 1/0.4^2


def test_without_diffusion_the_sde_is_euler_s_ode():
    x = starts(8)
    one, other = (
        bridge_system(DATA, BASE, Interpolant(), sampler=s).sample(start=x, dtype=F64)
        for s in (Sde(steps=20, eps=0.0), Ode(steps=20, order=1))
    )
    assert torch.equal(one, other)
    assert Sde(eps=0.0).gives == frozenset()


def test_one_step_by_hand_down_and_up():
    system, x, rng = bridge_system(DATA, BASE, Interpolant(), sampler=Sde(eps=0.7)), starts(6), Rng.of(2, 6)
    for t, s in ((0.5, 0.4), (0.4, 0.5)):
        _, info = system.sampler.step(system, Carry(x=x, cond=Condition()), as_time(t), as_time(s), rng)
        b, score = system.model.bridge.fields(system.process, x, as_time(t))
        mean = x + (s - t) * b + 0.07 * score
        torch.testing.assert_close(info.transition.mean, mean)
        torch.testing.assert_close(info.x_s, mean + (0.14**0.5) * rng.at("noise", "").normal(x))


def test_strength_over_time():
    t = as_time([0.0, 0.0005, 0.25, 0.5, 1.0])
    assert Sde(eps=2.0).strength(t).tolist() == [0, 0, 2, 2, 0]
    assert Sde(eps=2.0, shape="arch").strength(t).tolist() == [0, 0, 1.5, 2, 0]
    with pytest.raises(SpecError, match="eps must be at least 0"):
        Sde(eps=-1.0)
    with pytest.raises(SpecError, match="order must be one of 1, 2, 4"):
        Ode(order=3)


def test_any_diffusion_has_the_right_law():
    assert AnyDiffusion().measure(0).effect > 0


def test_the_likelihood_is_that_of_the_mixture():
    assert ExactLikelihood().measure(1).effect > 0


def test_hutchinson_s_estimate_is_unbiased():
    n = 400
    x = DATA.sample(torch.Generator().manual_seed(0), 1).expand(n, 2)
    system, inputs = bridge_system(DATA, BASE, Interpolant()), {"data": x, "base": BASE.log_prob}
    exact = Likelihood(steps=10).run(system, inputs, Rng.of(0, n)).states["log_prob"]
    rough = Likelihood(steps=10, probes=1).run(system, inputs, Rng.of(0, n)).states["log_prob"]
    assert rough.std() > 1e-3
    assert mean_within(rough - exact, 0.0)


def test_a_gaussian_process_brings_its_own_base():
    x = DATA.sample(torch.Generator().manual_seed(0), 16)
    system = mixture_system(DATA, OneSided())
    result = Likelihood(steps=100).run(system, {"data": x}, Rng.of(0, 16))
    torch.testing.assert_close(result.states["log_prob"], DATA.log_prob(x), rtol=0, atol=1e-3)
    assert result.metrics["nats"] == pytest.approx(-float(DATA.log_prob(x).mean()), abs=1e-3)


def test_bad_inputs_are_refused():
    system, rng = bridge_system(DATA, BASE, Interpolant()), Rng.of(0, 2)
    x = starts(2)
    for inputs, message in (({}, "takes data"), ({"data": x, "more": 1}, "more"), ({"data": x}, "expected base")):
        with pytest.raises(InvalidInput, match=message):
            Likelihood().run(system, inputs, rng)
    with pytest.raises(InvalidInput, match="shape"):
        system.denoise(torch.zeros(2, 3, dtype=F64), as_time(0.5), Condition())


def test_a_model_without_a_score_takes_no_noise():
    parts = {"model": Fields(drift_net=LinearNet()), "process": Interpolant(), "space": Euclidean(shape=(2,))}
    System(**parts, sampler=Ode())
    with pytest.raises(IncompatibleComponents, match="score"):
        System(**parts, sampler=Sde())
    with pytest.raises(IncompatibleComponents, match="interpolant"):
        System(**{**parts, "process": Circle()})


@pytest.mark.parametrize("shape", ["linear", "trigonometric", "score-based"])
def test_one_sided_interpolants_take_the_samplers_of_diffusion(shape):
    grid = Uniform(start=0.999)
    samplers = [
        Ddim(steps=40, grid=grid),
        Heun(steps=20, grid=Rho(sigma_max=30.0)),
        Sde(steps=40, eps=0.2, grid=grid),
    ]
    true = DATA.sample(torch.Generator().manual_seed(5), 300)
    for sampler in samplers:
        x = mixture_system(DATA, OneSided(shape=shape), sampler=sampler).sample(300, seed=3, dtype=F64)
        assert compare(x, true, "energy", permutations=500, seed=0).p_value > 1e-3


def test_the_ode_stops_where_it_is_told():
    system = bridge_system(DATA, BASE, Interpolant(), sampler=Ode(steps=10, terminal=Stop()))
    *_, (_, info) = system.stream(start=starts(3), dtype=F64)
    assert float(info.s) == pytest.approx(0.1)
    assert attrs.evolve(system.sampler, order=4).order == 4
