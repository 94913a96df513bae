"""Schedules, the kernels of masked processes, and what they refuse."""

import math
from itertools import pairwise

import pytest
import torch
from suffuse_md4.schedules import Cosine, Geometric, Linear, Polynomial
from suffuse_md4.statewise import Statewise

from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.discrete import ExactTokens, Joint, joint_system

F64 = torch.float64
T = torch.linspace(0.01, 0.99, 33, dtype=F64)
PROCESSES = [Linear(symbols=3), Polynomial(symbols=3, power=3.0), Cosine(symbols=3), Geometric(symbols=3)]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)


def statewise(w):
    made = Statewise(symbols=len(w), eps=0.0)
    made.raw.data = torch.tensor(w, dtype=F64).expm1().log()
    return made


@named
def test_slope_is_the_derivative_and_time_the_inverse(process):
    t = T.clone().requires_grad_()
    (slope,) = torch.autograd.grad(process.masked(t).sum(), t)
    torch.testing.assert_close(process.slope(T)[:, 0], slope, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(process.time(process.masked(T)), T, rtol=1e-9, atol=1e-12)
    ends = process.time(process.masked(torch.tensor([0.0, 1.0], dtype=F64)))
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0], dtype=F64), atol=1e-9, rtol=0)


def test_the_schedules_of_the_paper():
    t = torch.tensor(0.3, dtype=F64)
    expected = {
        0: 1e-4 + (1 - 2e-4) * 0.7,
        1: 1e-4 + (1 - 2e-4) * (1 - 0.3**3),
        2: 1e-4 + (1 - 2e-4) * (1 - math.cos(math.pi / 2 * 0.7)),
        3: math.exp(-(1e-5**0.7) * 20**0.3),
    }
    for i, value in expected.items():
        assert float(PROCESSES[i].alpha(t)) == pytest.approx(value, rel=1e-12)


def test_a_masked_token_is_revealed_by_its_own_symbol_s_schedule_and_a_seen_one_stays():
    process, t, s = statewise([0.5, 1.0, 2.0]), torch.tensor(0.8, dtype=F64), torch.tensor(0.3, dtype=F64)
    x0 = torch.tensor([[0.2, 0.3, 0.5]], dtype=F64).expand(1, 2, 3)
    law = process.posterior(torch.tensor([[3, 1]]), x0, t, s).logits.exp()
    w = torch.tensor([0.5, 1.0, 2.0], dtype=F64)
    stays = (0.3**w) / (0.8**w)
    torch.testing.assert_close(law[0, 0, :3], (1 - stays) * x0[0, 0])
    torch.testing.assert_close(law[0, 0, 3], (stays * x0[0, 0]).sum())
    assert law[0, 1].tolist() == [0.0, 1.0, 0.0, 0.0]


def test_every_token_may_have_a_time_of_its_own():
    process, x0 = Linear(symbols=3, eps=0.0), torch.zeros(2, 3, dtype=torch.int64)
    t = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=F64)
    assert process.corrupt(x0, t, rng=Rng.of(0, 2)).x_t.tolist() == [[0, 3, 3], [3, 0, 0]]


def test_reveal_chances_telescope():
    """The share still masked after any walk is that of its ends."""
    process, times = Cosine(symbols=3), torch.linspace(1, 0, 11, dtype=F64)
    hidden = torch.stack([process.reveal(a, b)[1] for a, b in pairwise(times)]).cumprod(0)[:, 0]
    torch.testing.assert_close(hidden, (process.masked(times[1:]) / process.masked(times[:1]))[:, 0])


def test_what_is_refused():
    process, t = Linear(symbols=3, eps=0.0), torch.tensor(0.5, dtype=F64)
    with pytest.raises(InvalidInput, match=r"integer tensor, got torch\.float32"):
        process.corrupt(torch.zeros(2, 3), t, rng=Rng.of(0, 2))
    with pytest.raises(InvalidInput, match="probabilities"):
        process.posterior(torch.zeros(2, 3).long(), torch.zeros(2, 3).long(), t, t)
    with pytest.raises(Unsupported, match="s must be at most t"):
        process.posterior(torch.zeros(2, 3).long(), torch.ones(2, 3, 3) / 3, t, t + 0.1)
    with pytest.raises(Unsupported, match="infinite at this time"):
        process.hazard(torch.tensor(0.0, dtype=F64))
    with pytest.raises(SpecError, match="symbols must be at least 2"):
        Linear(symbols=1)
    with pytest.raises(SpecError, match="beta_min must be below"):
        Geometric(symbols=3, beta_min=30.0)
    with pytest.raises(IncompatibleComponents, match="needs 'tokens'"):
        System(model=ExactTokens(joint=Joint.random(2, 3, 0)), process=process, space=Euclidean(shape=(2,)))


def test_learned_exponents_are_trained_and_saved_with_the_system():
    system = joint_system(Joint.random(2, 3, 0), Statewise(symbols=3, power=2.0))
    assert dict(system.modules()["process"].named_parameters()).keys() == {"raw"}
    torch.testing.assert_close(system.process.w, torch.full((3,), 2.0, dtype=F64), atol=1e-6, rtol=0)
