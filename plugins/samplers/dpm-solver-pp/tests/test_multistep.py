"""History, ends of time, and the rest of the contract that the deterministic solvers add."""

from itertools import pairwise

import attrs
import pytest
import torch
from suffuse_dpm_solver_pp.multistep import Multistep
from suffuse_dpm_solver_pp.sde import Sde
from suffuse_dpm_solver_pp.singlestep import Singlestep

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.errors import SpecError, Unsupported
from suffuse.parts import LogSnr, Uniform
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system, truth
from suffuse.testing.mixture import GaussianMixture

MIXTURE = GaussianMixture.random(dim=2, components=3, seed=0)
SAMPLERS = [Multistep(order=1), Multistep(), Multistep(order=3), Singlestep(), Singlestep(order=3), Sde(order=1), Sde()]
NAMES = ["1M", "2M", "3M", "2S", "3S", "SDE1", "SDE2M"]
every = pytest.mark.parametrize("sampler", SAMPLERS, ids=NAMES)


def start(n=8):
    return Rng.of(0, n).at("start").normal(torch.empty(n, 2, dtype=torch.float64))


def walk(system, carry, times, seed=0):
    infos = []
    for i in range(len(times) - 1):
        rng = Rng.of(seed, len(carry.x)).at(i)
        carry, info = system.sampler.step(system, carry, as_time(times[i]), as_time(times[i + 1]), rng)
        infos.append(info)
    return carry, infos


@every
@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_ends_are_finite(sampler, steps, process):
    """From t = 1, without signal for the line, to t = 0; the samples lie where the data do."""
    system = mixture_system(MIXTURE, process, sampler=attrs.evolve(sampler, steps=steps))
    x = system.sample(100, seed=1, dtype=torch.float64)
    assert x.isfinite().all()
    assert (x - MIXTURE.moments()[0]).norm(dim=1).max() < 6


@every
def test_the_last_step_is_the_data_prediction(sampler, process):
    system = mixture_system(MIXTURE, process, sampler=sampler)
    _, infos = walk(system, Carry(x=start(), cond=Condition()), [0.9, 0.6, 0.3, 0.1, 0.0])
    torch.testing.assert_close(infos[-1].x_s, infos[-1].prediction.x0, rtol=0, atol=1e-12)
    assert infos[-1].transition is None
    assert infos[-1].nfe == 1


@every
def test_log_snr_grid(sampler, process):
    system = mixture_system(MIXTURE, process, sampler=attrs.evolve(sampler, grid=LogSnr()))
    assert system.sample(4).isfinite().all()


@pytest.mark.parametrize("sampler", SAMPLERS[:5], ids=NAMES[:5])
def test_evaluations(sampler, circle):
    """One a step, or the order a step but for the last to t = 0."""
    n = []
    mixture_system(MIXTURE, circle, sampler=attrs.evolve(sampler, steps=12)).sample(
        4, on_step=lambda i, info: n.append(info.nfe)
    )
    single = isinstance(sampler, Singlestep)
    assert n == [sampler.order if single else 1] * 11 + [1]


@every
def test_a_step_of_no_length_stands_still(sampler, process):
    system = mixture_system(MIXTURE, process, sampler=sampler)
    carry, _ = walk(system, Carry(x=start(), cond=Condition()), [0.9, 0.7, 0.5])
    for t in (0.5, 1.0):
        found, _ = walk(system, carry, [t, t])
        torch.testing.assert_close(found.x, carry.x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", [Multistep(), Multistep(order=3), Sde()], ids=["2M", "3M", "SDE2M"])
def test_history_is_dropped_where_the_way_turns(sampler, circle):
    """After going back to the same or a noisier time, the step is the one without history."""
    system = mixture_system(MIXTURE, circle, sampler=sampler)
    carry, _ = walk(system, Carry(x=start(), cond=Condition()), [0.9, 0.7, 0.5])
    for t in (0.7, 0.8, 0.95):
        turned, _ = walk(system, carry, [t, 0.4])
        fresh, _ = walk(system, Carry(x=carry.x, cond=Condition()), [t, 0.4])
        assert torch.equal(turned.x, fresh.x)
    onwards, _ = walk(system, carry, [0.5, 0.4])
    fresh, _ = walk(system, Carry(x=carry.x, cond=Condition()), [0.5, 0.4])
    assert not torch.equal(onwards.x, fresh.x)


def test_history_is_in_the_carry_alone(circle):
    """Two trajectories in turns give what each gives by itself; other entries of the memory stay."""
    system = mixture_system(MIXTURE, circle, sampler=Multistep(order=3))
    times = [0.9, 0.7, 0.6, 0.4, 0.3]
    alone = [walk(system, Carry(x=x, cond=Condition()), times)[0].x for x in (start(), -start())]
    carries = [Carry(x=x, cond=Condition(), memory={"other": 1}) for x in (start(), -start())]
    for t, s in pairwise(times):
        carries = [walk(system, c, [t, s])[0] for c in carries]
    for carry, x in zip(carries, alone, strict=True):
        assert torch.equal(carry.x, x)
        assert carry.memory["other"] == 1
        assert len(carry.memory["x0"]) == len(carry.memory["times"]) == 2


@pytest.mark.parametrize("sampler", [Multistep(), Multistep(order=3), Singlestep(), Singlestep(order=3), Sde()])
def test_times_of_each_row(sampler, circle):
    system = mixture_system(MIXTURE, circle, sampler=sampler)
    rows = torch.tensor([[0.9, 0.8, 0.5, 0.4], [0.7, 0.5, 0.45, 0.1], [0.6, 0.3, 0.2, 0.15]], dtype=torch.float64)
    together, rng = Carry(x=start(3), cond=Condition()), Rng.of(0, 3)
    alone = [Carry(x=start(3)[i : i + 1], cond=Condition()) for i in range(3)]
    for k in range(3):
        together, _ = sampler.step(system, together, rows[:, k], rows[:, k + 1], rng.at(k))
        pairs = zip(alone, rows[:, k], rows[:, k + 1], range(3), strict=True)
        alone = [sampler.step(system, c, t, s, rng.index([i]).at(k))[0] for c, t, s, i in pairs]
    torch.testing.assert_close(together.x, torch.cat([c.x for c in alone]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("sampler", SAMPLERS[:5], ids=NAMES[:5])
def test_inversion(sampler, process):
    """From data at t = 0, where lambda is infinite, and back; the error falls with the steps."""
    data, errors = truth(MIXTURE, 8, seed=1), []
    for steps in (25, 100):
        run = attrs.evolve(sampler, steps=steps, grid=Uniform(start=0.9))
        system = mixture_system(MIXTURE, process, sampler=run)
        times = run.times(process)
        latent = system.sample(start=data, times=times.flip(0), dtype=torch.float64)
        found = system.sample(start=latent, times=times, dtype=torch.float64)
        errors.append((found - data).square().mean().sqrt().item())
    assert errors[1] < errors[0] / 2.5
    assert errors[1] < 0.15


def test_the_sde_has_no_way_back(circle):
    with pytest.raises(Unsupported, match="s > t"):
        walk(mixture_system(MIXTURE, circle, sampler=Sde()), Carry(x=start(), cond=Condition()), [0.3, 0.6])


def test_orders():
    for cls, order in ((Multistep, 4), (Singlestep, 1), (Sde, 3)):
        with pytest.raises(SpecError, match="order must be one of"):
            cls(order=order)
