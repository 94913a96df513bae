import pytest
import torch
from suffuse_ddpm.linear import Linear
from suffuse_mdm.exact import ExactNoise
from suffuse_mdm.presets import alda, cld, malda, vpsde
from suffuse_mdm.samplers import Diffused, EulerMaruyama, Flow, Quadratic
from suffuse_mdm.state import Augmented, Lift

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry, stream
from suffuse.errors import Unsupported
from suffuse.parts import Uniform
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import compare, covariance_within, mean_within, slope

F64 = torch.float64
RING = GaussianMixture.ring(6, 1.5, 0.4)
SINGLE = GaussianMixture.single([0.7, -0.4], 0.3)


def system_of(process, sampler, mixture=RING):
    return System(
        model=ExactNoise(mixture=mixture),
        process=process,
        space=Augmented(shape=(2,), variables=process.K),
        codec=Lift(variables=process.K),
        sampler=sampler,
    )


@pytest.mark.parametrize(
    ("process", "sampler"),
    [(cld(), EulerMaruyama(steps=100)), (malda(), Flow(steps=60)), (alda(), Flow(steps=40)), (vpsde(), Flow(steps=30))],
)
def test_the_samples_are_those_of_the_mixture(process, sampler):
    x = system_of(process, sampler).sample(500, seed=0, dtype=F64)
    true = RING.sample(torch.Generator().manual_seed(1), 500)
    assert compare(x, true, "energy", permutations=1000, seed=0).p_value > 1e-3


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("process", [cld(), malda(K=2)], ids=["cld", "malda"])
def test_the_order_of_the_flow_in_phase_space(process, order):
    """Against the finest grid, which is 16 times as fine as the coarsest compared."""
    system = system_of(process, Flow(order=order), SINGLE)
    start = {n: Rng.of(3, 8).at(n).normal(torch.empty(8, 2, dtype=F64)) for n in ("x", "v")}

    def end(steps):
        times = torch.linspace(0.8, 0.2, steps + 1, dtype=F64)
        *_, (carry, _) = stream(system, start, Condition(), Rng.of(0, 8), start=start, times=times)
        return torch.cat(list(carry.x.values()), 1)

    goal, counts = end(512 if order == 2 else 2048), [32, 64, 128]
    assert abs(slope(counts, [float((end(n) - goal).norm()) for n in counts]).value - order) < 0.25


def test_the_steps_of_phase_space_are_the_formula():
    process, n = cld(), 20_000
    system = system_of(process, EulerMaruyama(), SINGLE)
    u = {k: torch.full((n, 2), v, dtype=F64) for k, v in (("x", 0.3), ("v", -0.6))}
    t, s = as_time(0.5), as_time(0.4)
    carry, info = system.sampler.step(system, Carry(x=u, cond=Condition()), t, s, Rng.of(0, n))
    beta = 0.1 + 9.9 * 0.5
    score = info.prediction.score["v"]
    torch.testing.assert_close(info.transition.mean["x"], u["x"] - 0.1 * beta * u["v"], rtol=1e-12, atol=1e-12)
    drift = -beta * u["x"] - 2 * beta * u["v"] - 4 * beta * score
    torch.testing.assert_close(info.transition.mean["v"], u["v"] - 0.1 * drift, rtol=1e-12, atol=1e-12)
    assert torch.equal(carry.x["x"], info.transition.mean["x"])  # no noise reaches x
    noise = carry.x["v"] - info.transition.mean["v"]
    assert mean_within(noise, 0.0)
    assert covariance_within(noise, 4 * beta * 0.1 * torch.eye(2, dtype=F64))
    with pytest.raises(Unsupported, match="no density"):
        info.transition.log_prob(carry.x)
    assert isinstance(info.transition, Diffused)


def test_the_last_step_has_no_noise_and_rows_keep_their_own_times():
    process = cld()
    for sampler in (EulerMaruyama(), Flow()):
        system = system_of(process, sampler)
        u = {k: Rng.of(0, 3).at(k).normal(torch.empty(3, 2, dtype=F64)) for k in ("x", "v")}
        t, s, rng = as_time([0.5, 0.01, 0.002]), as_time([0.4, 0.0, 0.001]), Rng.of(1, 3)
        together, _ = sampler.step(system, Carry(x=u, cond=Condition()), t, s, rng)
        for i in range(3):
            row = slice(i, i + 1)
            mine = Carry(x={k: v[row] for k, v in u.items()}, cond=Condition())
            alone, info = sampler.step(system, mine, t[i], s[i], rng.index(row))
            torch.testing.assert_close(together.x["x"][row], alone.x["x"], rtol=1e-11, atol=1e-11)
            assert (info.transition is None) == (
                sampler is not system.sampler or s[i] == 0 or isinstance(sampler, Flow)
            )


def test_a_scalar_sde_has_a_density():
    system = mixture_system(SINGLE, Linear(), sampler=EulerMaruyama())
    x = torch.zeros(4, 2, dtype=F64)
    _, info = system.sampler.step(system, Carry(x=x, cond=Condition()), as_time(0.5), as_time(0.49), Rng.of(0, 4))
    assert info.transition.log_prob(info.x_s).isfinite().all()
    torch.testing.assert_close(info.transition.std, (as_time(0.01) * Linear().rate(as_time(0.5))).sqrt())


def test_the_grid_is_quadratic():
    times = Quadratic().times(cld(), 5)
    torch.testing.assert_close(times, 1e-3 + 0.999 * as_time([1, 0.5625, 0.25, 0.0625, 0]), rtol=1e-12, atol=0)
    assert Quadratic().times(cld(), 1).tolist() == [1.0]


def test_what_is_refused():
    system = system_of(cld(), EulerMaruyama())
    x = {k: torch.zeros(2, 2) for k in ("x", "v")}
    with pytest.raises(Unsupported, match="to a lower s"):
        system.sampler.step(system, Carry(x=x, cond=Condition()), as_time(0.5), as_time(0.6), Rng.of(0, 2))
    inverted = system_of(cld(), Flow(grid=Uniform()))
    carry, _ = inverted.sampler.step(inverted, Carry(x=x, cond=Condition()), as_time(0.5), as_time(0.6), Rng.of(0, 2))
    assert carry.x["x"].isfinite().all()
