import math

import pytest
import torch
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.parameterization import V
from suffuse_ddpm.simple import Simple
from suffuse_ddpm.times import Steps
from suffuse_fvdm.latte import Latte
from suffuse_fvdm.ptss import Ptss

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch, Times, Weighting
from suffuse.contracts.space import Euclidean
from suffuse.errors import SpecError
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import seeded


def system(process=None):
    with seeded(0):
        net = Latte(frames=3, channels=1, size=(2, 2), patch=1, width=16, depth=2, heads=2)
        torch.nn.init.normal_(net.final.linear.weight)
    model = Preconditioned(backbone=net, parameterization=V(), trained=process or Cosine())
    return System(model=model, space=Euclidean(shape=(3, 1, 2, 2)))


def batch(n):
    x = Rng.of(9, n).normal(torch.empty(n, 3, 1, 2, 2))
    return Batch(x=x, cond=Condition(), index=torch.arange(n))


def test_p_zero_is_the_ordinary_objective_to_the_bit():
    s, b, rng = system(), batch(5), Rng.of(0, 5)
    ours = Simple(times=Ptss(frames=3, p=0.0)).loss("model", b, s, {}, rng)
    plain = Simple(times=Steps()).loss("model", b, s, {}, rng)
    assert torch.equal(ours.per_sample, plain.per_sample)


def test_p_one_draws_each_frame_by_itself():
    t, weight = Ptss(frames=4, p=1.0).draw(Cosine(), 4000, Rng.of(0, 4000))
    assert t.shape == (4000, 4)
    assert torch.equal(weight, torch.ones(4000, dtype=torch.float64))
    # Uniform and uncorrelated: under that, a correlation of n rows has the standard error 1/sqrt(n).
    assert float((t.T.corrcoef() - torch.eye(4)).abs().max()) < 5 / math.sqrt(4000)
    assert float((t.mean(0) - 0.5).abs().max()) < 5 / math.sqrt(12 * 4000)


def test_one_coin_for_a_batch_with_the_right_chance():
    part = Ptss(frames=2, p=0.2)
    shapes = [part.draw(Cosine(), 3, Rng.of(seed, 3))[0].shape for seed in range(1000)]
    assert set(shapes) == {(3,), (3, 2)}
    share = sum(shape == (3, 2) for shape in shapes) / 1000
    assert abs(share - 0.2) < 5 * math.sqrt(0.2 * 0.8 / 1000)


def test_a_chains_times_stay_its_own():
    t, _ = Ptss(frames=3, p=1.0).draw(Discrete(T=100), 50, Rng.of(0, 50))
    torch.testing.assert_close(t * 100, (t * 100).round(), rtol=0, atol=1e-12)


class Twice(Times):
    """Uniform with the weight 2 t, whose mean is 1."""

    def draw(self, process, n, rng):
        t, _ = Steps().draw(process, n, rng)
        return t, 2 * t


def test_importance_weights_multiply():
    t, weight = Ptss(frames=3, p=1.0, times=Twice()).draw(Cosine(), 20, Rng.of(0, 20))
    torch.testing.assert_close(weight, (2 * t).prod(1))


class ByTime(Weighting):
    """t itself."""

    def weight(self, process, t, mix):
        return t


@pytest.mark.parametrize("n", [3, 5])  # as many samples as frames, too
def test_each_frame_is_weighted_by_its_own_time(n):
    s, b, rng, process = system(), batch(n), Rng.of(0, n), Cosine()
    times = Ptss(frames=3, p=1.0)
    got = Simple(times=times, weighting=ByTime()).loss("model", b, s, {}, rng).per_sample
    t, _ = times.draw(process, n, rng)
    made = process.corrupt(b.x, t, rng=rng)
    p = s.plain(made.x_t, t, b.cond)
    alpha, sigma = (w[..., None, None, None].float() for w in process.scalars(t))
    errors = (p.value - (alpha * made.noise - sigma * b.x)).square().flatten(2).mean(2)
    torch.testing.assert_close(got, (errors * t.float()).mean(1))


def test_bad_input():
    with pytest.raises(SpecError, match="p must be at most 1"):
        Ptss(p=1.5)
    with pytest.raises(SpecError, match="frames"):
        Ptss(frames=0)
