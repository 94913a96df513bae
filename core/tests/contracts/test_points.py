"""What is kept at the single times of a walk: used again, and never stale."""

import copy

import attrs
import pytest
import torch
from torch import nn

from suffuse.contracts.process import Gaussian, Kernel, Learned
from suffuse.parts import Uniform
from suffuse.points import constant
from suffuse.testing.exact import mixture_system
from suffuse.testing.stand_ins import Circle, FirstOrder, three

F64 = torch.float64


def time(value):
    return torch.tensor(value, dtype=F64)


@attrs.frozen(kw_only=True)
class Counted(Gaussian):
    """``alpha = 1 - t``, ``sigma = rate t``; counts its evaluations."""

    rate: float = 1.0
    counts = []

    def kernel(self, t):
        self.counts.append(t)
        return Kernel(1 - t, self.rate * t)

    def time(self, log_snr):
        return 1 / (1 + self.rate * (log_snr / 2).exp())


@pytest.fixture
def process():
    Counted.counts.clear()
    return Counted()


def test_a_point_is_evaluated_once(process):
    t = time(0.3)
    first, again = process.scalars(t), process.scalars(t)
    assert first is again
    process.log_snr(t)
    assert len(process.counts) == 1


def test_an_equal_time_is_another_point(process):
    process.scalars(time(0.3))
    process.scalars(time(0.3))
    assert len(process.counts) == 2


def test_batches_of_times_are_not_kept(process):
    t = torch.full((3,), 0.3, dtype=F64)
    process.scalars(t)
    process.scalars(t)
    assert len(process.counts) == 2


def test_a_time_changed_in_place_is_evaluated_anew(process):
    t = time(0.3)
    process.scalars(t)
    t.sub_(0.1)
    alpha, sigma = process.scalars(t)
    assert float(alpha) == pytest.approx(0.8)
    assert float(sigma) == pytest.approx(0.2)


def test_a_value_changed_in_place_is_evaluated_anew(process):
    t = time(0.3)
    process.scalars(t)[0].mul_(5)
    assert float(process.scalars(t)[0]) == pytest.approx(0.7)


def test_another_process_has_its_own_values(process):
    t = time(0.3)
    process.scalars(t)
    assert float(attrs.evolve(process, rate=2.0).scalars(t)[1]) == pytest.approx(0.6)
    assert float(copy.deepcopy(process).scalars(t)[1]) == pytest.approx(0.3)


def test_gradients_of_a_time_pass(process):
    t = time(0.3).requires_grad_()
    with torch.no_grad():
        process.scalars(t)
    (grad,) = torch.autograd.grad(process.scalars(t)[1], t)
    assert float(grad) == 1


def test_transforms_of_a_time_pass(process):
    value, slope = torch.func.jvp(lambda t: process.scalars(t)[0], (time(0.3),), (time(1.0),))
    assert (float(value), float(slope)) == (pytest.approx(0.7), -1)
    assert float(torch.func.grad(lambda t: process.scalars(t)[0])(time(0.3))) == -1
    many = torch.linspace(0.1, 0.9, 3, dtype=F64)
    for _ in range(2):
        torch.testing.assert_close(torch.vmap(lambda t: process.scalars(t)[0])(many), 1 - many)


def test_a_learned_process_is_evaluated_anew():
    class Trained(Gaussian, Learned):
        def __init__(self):
            super().__init__()
            self.rate = nn.Parameter(time(1.0))

        def kernel(self, t):
            return Kernel(1 - t, self.rate * t)

        def time(self, log_snr):
            raise NotImplementedError

    process, t = Trained(), time(0.3)
    with torch.no_grad():
        process.scalars(t)
        process.rate.mul_(2)
    sigma = process.scalars(t)[1]
    assert sigma.item() == pytest.approx(0.6)
    sigma.backward()
    assert float(process.rate.grad) == pytest.approx(0.3)


def test_values_kept_in_inference_mode_meet_gradients(process):
    t, x = time(0.3), torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        process.scalars(t)
    (x * process.scalars(t)[0]).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2,), 0.7))


def test_few_points_are_kept(process, monkeypatch):
    monkeypatch.setattr("suffuse.points._MOST", 3)
    times = [time(0.1 * i) for i in range(10)]
    for t in times:
        assert float(process.scalars(t)[1]) == float(t)
    assert len(vars(process)["_scalars_at"]) <= 3


def test_what_is_constant():
    @attrs.frozen
    class Holds:
        value: object

    assert constant(Circle())
    assert constant(FirstOrder(grid=Uniform()))
    assert constant(Holds((1, 2.0, "three", None, True)))
    for value in (torch.ones(1), [1], {"a": 1}, nn.Linear(1, 1), object(), Holds([])):
        assert not constant(Holds(value))

    class Loose(Circle):
        """Its attributes are no settings."""

    assert not constant(Loose())


def test_the_grid_is_made_once():
    system = mixture_system(three(), Circle(), sampler=FirstOrder(steps=4))
    assert system.points is system.points
    assert torch.equal(torch.stack(system.points), system.sampler.times(system.process))
    assert torch.equal(torch.stack(attrs.evolve(system, sampler=FirstOrder(steps=2)).points), time([1.0, 0.5, 0.0]))


def test_a_caller_that_writes_on_a_time_spoils_no_later_sample():
    system = mixture_system(three(), Circle(), sampler=FirstOrder(steps=4))
    expected = system.sample(2, dtype=F64)
    for _, info in system.stream(2, dtype=F64):
        info.s.mul_(0.5)
        break
    assert torch.equal(system.sample(2, dtype=F64), expected)


def test_samples_in_inference_mode_and_with_gradients_agree():
    system = mixture_system(three(), Circle(), sampler=FirstOrder(steps=4))
    with torch.inference_mode():
        expected = system.sample(2, dtype=F64)
    start = torch.zeros(2, 2, dtype=F64, requires_grad=True)
    system.sample(start=start, dtype=F64).sum().backward()
    assert bool(start.grad.isfinite().all())
    assert torch.equal(system.sample(2, dtype=F64), expected)
