import math
from itertools import pairwise

import pytest
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.parameterization import X0, Eps, V
from suffuse_fvdm.frames import per_frame
from suffuse_fvdm.gaussian import GaussianVideos, covariance
from suffuse_fvdm.latte import Latte
from suffuse_fvdm.sampler import Frames, Moving

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.process import as_time
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import ExactDenoiser
from suffuse.testing.fitting import seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle

F64 = torch.float64


def videos(sampler, process=None, frames=4):
    model = GaussianVideos(frames=frames)
    return System(model=model, process=process or Circle(), space=Euclidean(shape=(frames,)), sampler=sampler)


def normal(*shape, seed=0):
    return Rng.of(seed, shape[0]).normal(torch.empty(*shape, dtype=F64))


def one_step(system, x, t, s, seed=0):
    return system.sampler.step(system, Carry(x=x, cond=Condition()), as_time(t), as_time(s), Rng.of(seed, len(x)))[1]


def test_the_denoiser_is_the_conditional_mean():
    # E[x0 | x_t] is the regression of x0 on x_t: the residual is uncorrelated with x_t, frame by frame.
    process, t, n = Linear(), torch.tensor([0.0, 0.1, 0.4, 0.9], dtype=F64), 20_000
    x0 = normal(n, 4, seed=1) @ torch.linalg.cholesky(covariance(4)).mT
    times = t.expand(n, 4)
    x_t = process.corrupt(x0, times, rng=Rng.of(2, n)).x_t
    p = GaussianVideos(frames=4)(x_t, times, Condition(), process=process)
    torch.testing.assert_close(p.x0[:, 0], x0[:, 0], rtol=0, atol=1e-9)
    for f in range(1, 4):
        for g in range(4):
            products = (p.x0[:, f] - x0[:, f]) * x_t[:, g]
            assert abs(float(products.mean())) < 5 * float(products.std()) / math.sqrt(n)


def test_the_mixtures_denoiser_agrees_and_takes_times_of_elements():
    process, x = Circle(), normal(3, 4)
    t = 0.1 + 0.8 * Rng.of(5, 3).uniform(torch.empty(3, 4, dtype=F64))
    one = GaussianMixture.single(torch.zeros(4, dtype=F64), covariance(4))
    got = ExactDenoiser(mixture=one)(x, t, Condition(), process=process).value
    expected = GaussianVideos(frames=4)(x, t, Condition(), process=process).value
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)
    many = ExactDenoiser(mixture=GaussianMixture.random(dim=4, components=3, seed=0))
    equal = t[:, :1].repeat(1, 4)
    got, expected = (many(x, u, Condition(), process=process).value for u in (equal, t[:, 0]))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


def test_each_row_has_its_own_times():
    process, x = Circle(), normal(3, 4, 2)
    t = 0.1 + 0.8 * Rng.of(5, 3).uniform(torch.empty(3, 4, dtype=F64))
    model = GaussianVideos(frames=4)
    whole = model(x, t, Condition(), process=process).value
    for i in range(3):
        alone = model(x[i : i + 1], t[i : i + 1], Condition(), process=process).value
        torch.testing.assert_close(whole[i : i + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_equal_times_are_ddim_to_the_bit(eta):
    one = videos(Ddim(steps=12, eta=eta), Cosine()).sample(5, dtype=F64)
    two = videos(Frames(steps=12, eta=eta), Cosine()).sample(5, dtype=F64)
    if eta:  # the same law, other streams
        info, other = (one_step(videos(s, Cosine()), normal(5, 4), 0.7, 0.5) for s in (Ddim(eta=eta), Frames(eta=eta)))
        assert torch.equal(info.transition.mean, other.transition.mean)
        assert torch.equal(info.transition.std, other.transition.std)
    else:
        assert torch.equal(one, two)


def test_paths():
    x = torch.zeros(2, 4)
    u = torch.linspace(1, 0, 9, dtype=F64)
    for d in (0.3, 1.0, 2.0):
        path = torch.stack([Frames(stagger=d).path(v, x)[0] for v in u])
        assert bool((path.diff(dim=0) <= 0).all())
        assert path[0].tolist() == [1] * 4
        assert path[-1].tolist() == [0] * 4
        assert bool((path.diff(dim=1) >= 0).all())
        moving = (path > 0) & (path < 1)
        assert d < 1 or int(moving.sum(1).max()) <= 1
    autoregressive = Frames(stagger=1.0).path(as_time(0.625), x)[0]
    torch.testing.assert_close(autoregressive, as_time([0.0, 0.5, 1.0, 1.0]), rtol=0, atol=1e-12)
    together = u[3]
    assert Frames().path(together, x) is together


@pytest.mark.parametrize("parameterization", [Eps(), X0(), V()])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_frames_at_rest_stay_to_the_bit(parameterization, eta):
    # One frame at data and one at pure noise, where neither eps nor x0 follow from the network.
    with seeded(0):
        net = Latte(frames=4, channels=1, size=(1, 1), patch=1, width=8, depth=2, heads=2).double()
        torch.nn.init.normal_(net.final.linear.weight)
    model = Preconditioned(backbone=net, parameterization=parameterization, trained=Circle())
    system = System(model=model, space=Euclidean(shape=(4, 1, 1, 1)), sampler=Frames(eta=eta))
    x = normal(3, 4, 1, 1, 1)
    info = one_step(system, x, [[0.0, 0.3, 0.8, 1.0]] * 3, [[0.0, 0.2, 0.8, 1.0]] * 3)
    assert torch.equal(info.x_s[:, [0, 2, 3]], x[:, [0, 2, 3]])
    assert not torch.equal(info.x_s[:, 1], x[:, 1])
    assert bool(info.x_s.isfinite().all())


def test_eta_one_is_each_frames_posterior():
    process, x = Linear(), normal(64, 4)
    t, s = torch.tensor([0.9, 0.5, 0.5, 0.2], dtype=F64), torch.tensor([0.7, 0.5, 0.1, 0.1], dtype=F64)
    info = one_step(videos(Frames(eta=1.0), process), x, t.expand(64, 4), s.expand(64, 4))
    law = process.posterior(x, info.prediction.x0, t.expand(64, 4), s.expand(64, 4))
    moves = [0, 2, 3]
    torch.testing.assert_close(info.transition.mean[:, moves], law.mean[:, moves], rtol=0, atol=1e-12)
    torch.testing.assert_close(info.transition.std[:, moves], law.std[:, moves], rtol=0, atol=1e-12)
    reference = Normal(law.mean[:, moves], law.std[:, moves]).log_prob(info.x_s[:, moves])
    torch.testing.assert_close(info.transition.log_prob(info.x_s), reference)


def test_noise_on_staggered_paths_keeps_the_law():
    # Ancestral steps of a linear model are affine with known noise, so the covariance follows step by step, exactly.
    k, errors = covariance(4), []
    for steps in (100, 200, 400):
        system = videos(Frames(steps=steps, eta=1.0, stagger=0.5))
        spread = torch.eye(4, dtype=F64)
        for t, s in pairwise(system.points):
            law = one_step(system, torch.eye(4, dtype=F64), t, s).transition
            if law is None:
                gain = one_step(system, torch.eye(4, dtype=F64), t, s).x_s
                spread = gain.mT @ spread @ gain
            else:
                spread = law.mean.mT @ spread @ law.mean + torch.diag_embed(law.std[0] ** 2)
        errors.append(float((spread - k).norm()))
    # An error C/N (1 + c/N) has slopes with a bias of c/N; two of them, extrapolated, are free of it.
    coarse, fine = (math.log2(a / b) for a, b in pairwise(errors))
    assert abs(2 * fine - coarse - 1) < 0.1


def test_a_path_of_ones_own():
    system, x = videos(Frames(stagger=0.7, steps=9)), normal(3, 4)
    times = torch.stack([system.sampler.path(u, x) for u in system.points])
    assert times.shape == (10, 3, 4)
    assert torch.equal(system.sample(start=x, times=times, dtype=F64), system.sample(start=x, dtype=F64))


def test_inversion_returns():
    system, x = videos(Frames()), normal(3, 4)
    up = torch.linspace(0.2, 0.8, 400, dtype=F64)
    back = system.sample(start=system.sample(start=x, times=up, dtype=F64), times=up.flip(0), dtype=F64)
    assert float((back - x).abs().max()) < 0.05


def test_bad_input():
    with pytest.raises(SpecError, match="stagger"):
        Frames(stagger=-1.0)
    with pytest.raises(InvalidInput, match=r"\(2, 5\)"):
        per_frame(torch.zeros(2, 5), torch.zeros(2, 4))
    with pytest.raises(Unsupported, match="rise"):
        one_step(videos(Frames(eta=1.0)), normal(2, 4), 0.2, 0.4)
    with pytest.raises(Unsupported, match="eta=3"):
        one_step(videos(Frames(eta=3.0)), normal(2, 4), 0.9, 0.1)
    with pytest.raises(Unsupported, match="frames"):
        Frames(stagger=1.0).path(as_time(0.5), {"x": torch.zeros(2, 3)})


def test_a_moving_law_without_motion_has_density_one():
    law = Moving(torch.zeros(2, 3), torch.zeros((), dtype=F64))
    assert torch.equal(law.log_prob(torch.zeros(2, 3)), torch.zeros(2))
