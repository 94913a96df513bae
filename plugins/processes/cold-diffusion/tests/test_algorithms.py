"""Restoring: the two algorithms, the network, the loss."""

import pytest
import torch
from suffuse_cold_diffusion.animorph import Animorph
from suffuse_cold_diffusion.claims import Hot, ImprovedBeatsNaive, LinearPath
from suffuse_cold_diffusion.mask import Mask
from suffuse_cold_diffusion.objective import L1
from suffuse_cold_diffusion.restorer import Restorer
from suffuse_cold_diffusion.samplers import Improved, Naive
from suffuse_cold_diffusion.separable import Blur, Pixelate
from suffuse_cold_diffusion.snow import Snow
from suffuse_mlp.backbone import Mlp

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.objective import Batch
from suffuse.contracts.prediction import Endpoint
from suffuse.contracts.process import as_time
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle

F64 = torch.float64
SHAPE = (2, 8, 8)
IMAGES = Euclidean(shape=SHAPE)
PATHS = [Blur(T=6), Pixelate(T=3), Mask(T=6), Snow(T=6), Animorph()]


def pictures(n=4, seed=0):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=F64) * 2 - 1


class Known(Denoiser):
    """Says ``answer(x_t)``; takes any condition."""

    provides = frozenset({"endpoint"})

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x_t, t, cond, *, process, s=None, rng=None):
        return Endpoint(value=self.answer(x_t), x_t=x_t, t=t)


def system(process, answer, sampler):
    return System(model=Known(answer), process=process, space=IMAGES, sampler=sampler)


def degraded(process, x):
    made = process.corrupt(x, as_time(1.0), rng=Rng.of(0, len(x)))
    return made.x_t, {} if made.end is None else {"end": made.end}


@pytest.mark.parametrize("process", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("sampler", [Naive, Improved])
def test_a_perfect_restoration_is_returned(process, sampler):
    """Check 2 of the method."""
    x = pictures()
    start, cond = degraded(process, x)
    found = system(process, lambda _: x, sampler(steps=6)).sample(start=start, cond=cond, dtype=F64)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("process", PATHS, ids=lambda p: type(p).__name__)
def test_two_steps_by_hand(process):
    x = pictures()
    start, cond = degraded(process, x)
    end, zero, half, one = cond.get("end"), *(as_time(t) for t in (0.0, 0.5, 1.0))

    def answer(x_t):
        return torch.tanh(2 * x_t) * 0.5

    def D(y, t):
        return process.degrade(y, t, end=end)

    middle = D(answer(start), half)
    by_hand = {Naive: D(answer(middle), zero)}
    middle = start - D(answer(start), one) + D(answer(start), half)
    by_hand[Improved] = middle - D(answer(middle), half) + D(answer(middle), zero)
    for sampler, expected in by_hand.items():
        found = system(process, answer, sampler(steps=2)).sample(start=start, cond=cond, dtype=F64)
        torch.testing.assert_close(found, expected)


def test_errors_cancel_on_a_linear_path():
    assert LinearPath().measure(0).effect > 0
    assert LinearPath().measure(0, sabotage=True).effect < 0


def test_with_estimated_noise_it_is_ddim():
    assert Hot().measure(0).effect > 0
    assert Hot().measure(0, sabotage=True).effect < 0


def test_a_morph_keeps_the_state_that_it_began_with():
    x, other = pictures(), pictures(seed=1)
    blind = system(Animorph(), lambda x_t: x_t * 0.3, Improved(steps=5))
    implicit = blind.sample(start=other, dtype=F64)
    assert torch.equal(implicit, blind.sample(start=other, cond={"end": other}, dtype=F64))
    sharp = system(Animorph(), lambda _: x, Improved(steps=5)).sample(start=other, dtype=F64)
    # The state at t = 1 still holds alpha x_0, alpha = 4.5e-5, which the start does not.
    torch.testing.assert_close(sharp, x, rtol=0, atol=1e-3)


def test_with_fixed_noise_the_ends_are_averages():
    """``y = x_t - sigma_t z`` moves by the mean times d alpha: the end is an average of means, short of data."""
    mixture, off = GaussianMixture.ring(3, std=0.1), {}
    for end in ("kept", "estimated"):
        x = mixture_system(mixture, Animorph(), sampler=Improved(steps=40, end=end)).sample(100, seed=0, dtype=F64)
        off[end] = float((x.norm(dim=1) - 1).abs().median())
    assert off["estimated"] < 0.2
    assert off["kept"] > 2 * off["estimated"]


def test_improved_beats_naive_on_digits():
    claim = ImprovedBeatsNaive()
    assert claim.measure(0).effect > 0
    assert claim.measure(0, sabotage=True).effect <= 0


def test_degrading_further():
    """s > t with a perfect restoration walks the path up."""
    x, blur = pictures(), Blur(T=6)
    times = torch.linspace(0, 1, 7, dtype=F64)
    up = system(blur, lambda _: x, Improved(steps=6)).sample(start=x, times=times, dtype=F64)
    torch.testing.assert_close(up, blur.degrade(x, as_time(1.0)))


def test_what_is_refused():
    x = pictures()
    with pytest.raises(InvalidInput, match="needs its centres"):
        system(Mask(T=6), lambda v: v, Improved(steps=6)).sample(start=x)
    with pytest.raises(Unsupported, match="Gaussian schedules only, not under Blur"):
        system(Blur(T=6), lambda v: v, Improved(steps=6, end="estimated")).sample(start=x)
    estimated = system(Animorph(), lambda v: v, Naive(end="estimated"))
    with pytest.raises(Unsupported, match="above t = 0"):
        estimated.sample(start=x, times=as_time([0.0, 0.5]))
    with pytest.raises(IncompatibleComponents, match="degradation"):
        system(Circle(), lambda v: v, Improved())
    with pytest.raises(Unsupported, match="no prior"):
        system(Blur(), lambda v: v, Improved()).sample(2)


def test_generation_starts_from_colours():
    blur = Blur(T=6, to_mean=True, mean=(0.1, -0.3), covariance=(0.2, 0.0, 0.0, 0.1))
    x = system(blur, lambda v: v, Improved(steps=6)).sample(3, seed=0)
    assert x.shape == (3, *SHAPE)
    assert x.isfinite().all()


def restorer(T, **settings):
    with seeded(0):
        net = Mlp(shape=SHAPE, width=32, depth=1, frequencies=8, bandwidth=0.1, **settings)
        torch.nn.init.normal_(net.last.weight, std=0.1)
    return Restorer(backbone=net, scale=float(T))


def test_the_network_is_told_the_step_and_not_the_end():
    model, seen = restorer(6, classes=3), []
    plain = type(model.backbone).forward

    def spy(self, x, c_noise, cond):
        seen.append((c_noise.tolist(), sorted(cond)))
        return plain(self, x, c_noise, cond)

    whole = System(model=model, process=Mask(T=6), space=IMAGES, sampler=Improved(steps=6))
    cond = {"end": torch.tensor([[1, 2]]), "label": torch.tensor([2])}
    try:
        type(model.backbone).forward = spy
        whole.sample(start=pictures(1), cond=cond)
    finally:
        type(model.backbone).forward = plain
    assert [round(c[0], 9) for c, _ in seen] == [5, 4, 3, 2, 1, 0]
    assert {tuple(c) for _, c in seen} == {("label",)}
    assert model.gives == {"endpoint", "conditional"}
    with pytest.raises(InvalidInput, match="label"):
        whole.check(Condition(label=torch.tensor([7])))


def test_the_loss_as_published():
    n, x, rng = 16, pictures(16).float(), Rng.of(4, 16)
    model, process = restorer(6), Mask(T=6)
    whole = System(model=model, process=process, space=IMAGES)
    batch = Batch(x=x, cond=Condition(), index=torch.arange(n))
    loss = L1().loss("model", batch, whole, {}, rng)
    t = rng.at("times").integers(1, 7).double() / 6
    x_t = process.degrade(x, t, end=process.pattern(x, rng.at("pattern")))
    expected = (model(x_t, t, Condition(), process=process).x0 - x).abs().mean((1, 2, 3))
    torch.testing.assert_close(loss.per_sample, expected)
    centres = torch.zeros(n, 2, dtype=torch.long)
    given = L1().loss("model", Batch(x=x, cond=Condition(), index=batch.index, end=centres), whole, {}, rng)
    x_t = process.degrade(x, t, end=centres)
    torch.testing.assert_close(
        given.per_sample, (model(x_t, t, Condition(), process=process).x0 - x).abs().mean((1, 2, 3))
    )
    with pytest.raises(InvalidInput, match="got no batch"):
        L1().loss("model", None, whole, {}, rng)


def test_training_learns_to_restore():
    data = torch.where(torch.arange(64).view(64, 1, 1, 1) < 32, 0.8, -0.8).expand(64, *SHAPE)
    whole = System(model=restorer(6), process=Blur(T=6), space=IMAGES, sampler=Improved(steps=6))
    logs = fit(whole, L1(), rows_of(data), steps=30, batch=32, seed=0, learning_rate=3e-3)
    assert logs[-1]["model/l1"] < 0.5 * logs[0]["model/l1"]
