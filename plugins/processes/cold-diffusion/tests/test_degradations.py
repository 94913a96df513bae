"""The degradations, each against its definition written another way."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from suffuse_cold_diffusion.animorph import Animorph
from suffuse_cold_diffusion.colours import Colours
from suffuse_cold_diffusion.fade import Desaturate
from suffuse_cold_diffusion.mask import Mask
from suffuse_cold_diffusion.separable import Blur, Pixelate
from suffuse_cold_diffusion.snow import Snow
from suffuse_ddpm.cosine import Cosine

from suffuse.contracts.process import as_time
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import FirstOrder
from suffuse.testing.statistics import covariance_within, mean_within

F64 = torch.float64


def pictures(n=3, channels=2, height=8, width=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, height, width, generator=g, dtype=F64) * 2 - 1


def gaussian(size, std):
    d = torch.arange(size, dtype=F64) - size // 2
    k = torch.exp(-(d[:, None] ** 2 + d**2) / (2 * std**2))
    return k / k.sum()


@pytest.mark.parametrize("padding", ["circular", "reflect"])
@pytest.mark.parametrize(
    ("routine", "std"), [("linear", lambda i: 0.35 + 0.1 * i), ("exponential", lambda i: 0.35 * math.exp(0.1 * i))]
)
def test_blurs_are_the_convolutions_one_after_another(padding, routine, std):
    x = pictures()
    blur = Blur(T=4, kernel=5, std=0.35, growth=0.1, routine=routine, padding=padding)
    by_hand = x
    for i in range(4):
        torch.testing.assert_close(blur.degrade(x, as_time(i / 4)), by_hand)
        kernel = gaussian(5, std(i)).expand(2, 1, 5, 5)
        by_hand = F.conv2d(F.pad(by_hand, (2, 2, 2, 2), mode=padding), kernel, groups=2)
    torch.testing.assert_close(blur.degrade(x, as_time(1.0)), by_hand)


def test_circular_blurs_commute():
    """Check 4 of the method: the order of the kernels does not matter, so two halves make a whole."""
    x, first, second = pictures(), Blur(T=3, std=0.5), Blur(T=2, std=1.5, kernel=7)
    one = as_time(1.0)
    torch.testing.assert_close(first.degrade(second.degrade(x, one), one), second.degrade(first.degrade(x, one), one))


def test_a_large_kernel_wraps_around_a_small_image():
    x = pictures()
    wide = Blur(T=1, kernel=27, std=50.0).degrade(x, as_time(1.0))
    # Nearly the mean, of 27 rows of 8: three of them four times and five three times.
    assert (wide - x.mean((2, 3), keepdim=True)).abs().max() < 0.2
    assert Blur(T=1, kernel=27, std=50.0, padding="reflect").degrade(x, as_time(1.0)).isfinite().all()


def test_the_last_step_may_leave_colours_alone():
    x = pictures()
    blur = Blur(T=5, to_mean=True)
    torch.testing.assert_close(blur.degrade(x, as_time(1.0)), x.mean((2, 3), keepdim=True).expand_as(x))
    torch.testing.assert_close(blur.degrade(x, as_time(0.8)), Blur(T=5).degrade(x, as_time(0.8)))


def test_pixels_are_block_means():
    x = pictures(width=16)
    for n in range(4):
        small = F.avg_pool2d(x, 2**n)
        expected = small.repeat_interleave(2**n, 2).repeat_interleave(2**n, 3)
        torch.testing.assert_close(Pixelate(T=3).degrade(x, as_time(n / 3)), expected)
    with pytest.raises(InvalidInput, match=r"divide by 2\^3, got \(8, 6\)"):
        Pixelate(T=3).degrade(pictures(), as_time(1.0))


def test_the_mask_is_the_product_of_the_bumps():
    x, centre = pictures(n=2), torch.tensor([[0, 0], [5, 3]])
    mask = Mask(T=5, std=0.7, growth=0.2)
    got = mask.degrade(x, as_time([0.4, 1.0]), end=centre)
    for row, n in ((0, 2), (1, 5)):
        for i, j in ((0, 0), (2, 1), (7, 5)):
            square = float((centre[row, 0] - i) ** 2 + (centre[row, 1] - j) ** 2)
            expected = math.prod(1 - math.exp(-square / (2 * (0.7 + 0.2 * k) ** 2)) for k in range(n))
            torch.testing.assert_close(got[row, :, i, j], expected * x[row, :, i, j])
    ends = mask.pattern(pictures(n=2000), Rng.of(0, 2000))
    assert set(ends[:, 0].tolist()) == set(range(8))
    assert set(ends[:, 1].tolist()) == set(range(6))
    assert Mask(centre="middle").pattern(x, Rng.of(0, 2)).tolist() == [[4, 3]] * 2
    for end in (None, centre[:1], {"a": centre}):
        with pytest.raises(InvalidInput, match="needs its centres"):
            mask.degrade(x, as_time(0.4), end=end)


def test_colours_fade_in_a_straight_line():
    x = pictures(channels=3)
    fade = Desaturate(T=10)
    grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    torch.testing.assert_close(fade.degrade(x, as_time(0.3)), 0.7 * x + 0.3 * grey)
    torch.testing.assert_close(fade.degrade(x, as_time(1.0)), grey.expand_as(x))
    with pytest.raises(InvalidInput, match="images of 3 channels, got 2"):
        fade.degrade(pictures(), as_time(0.5))


def test_snow_covers_more_and_more():
    x, snow, rng = pictures(channels=3), Snow(T=10), Rng.of(0, 3)
    end = snow.pattern(x, rng)
    layers = [snow.degrade(x, as_time(n / 10), end=end) for n in range(11)]
    assert all((b - a).min() >= -1e-12 for a, b in pairwise(layers))
    flakes = (end.double() - 0.5).clamp_min(0)
    y = (x + 1) / 2
    white = 0.6 * y + 0.4 * torch.maximum(y, 1.5 * y.mean(1, keepdim=True) + 0.5)
    torch.testing.assert_close(layers[-1], (white + flakes) * 2 - 1)
    big = snow.pattern(torch.zeros(50, 1, 32, 32), Rng.of(0, 50))
    assert mean_within(big.flatten()[::97, None].double(), 0.0)
    assert big.std() == pytest.approx(1, abs=0.02)
    with pytest.raises(InvalidInput, match="snow needs its layer"):
        snow.degrade(x, as_time(0.5))
    with pytest.raises(SpecError, match="low must be below high"):
        Snow(low=1.0)


def test_a_morph_is_its_schedule_s_diffusion():
    morph, (x, end) = Animorph(), (pictures(), pictures(seed=1))
    t = as_time([0.2, 0.5, 1.0])
    alpha, sigma = Cosine().scalars(t)
    torch.testing.assert_close(morph.degrade(x, t, end=end), combine(alpha, x, sigma, end))
    hot = morph.corrupt(x, t, rng=Rng.of(0, 3))
    assert torch.equal(hot.x_t, Cosine().corrupt(x, t, rng=Rng.of(0, 3)).x_t)
    assert torch.equal(hot.end, hot.noise)
    mixture = GaussianMixture.ring()
    one, other = (mixture_system(mixture, p, sampler=FirstOrder(steps=8)).sample(4, seed=0) for p in (morph, Cosine()))
    assert torch.equal(one, other)
    with pytest.raises(InvalidInput, match="needs the other image"):
        morph.degrade(x, t)
    with pytest.raises(InvalidInput, match="the end must have the shape"):
        morph.degrade(x, t, end=end[:1])


def test_between_steps_the_path_is_straight():
    x, blur = pictures(n=2), Blur(T=4, std=0.6)
    a, b = (blur.degrade(x, as_time(n / 4)) for n in (1, 2))
    torch.testing.assert_close(blur.degrade(x, as_time(1.3 / 4)), 0.7 * a + 0.3 * b)
    mixed = blur.degrade(x, as_time([0.25, 1.3 / 4]))
    torch.testing.assert_close(mixed, torch.stack([a[0], (0.7 * a + 0.3 * b)[1]]))
    steps = torch.arange(301, dtype=F64) / 300  # n/T T is off n by rounding
    fine = Blur(T=300, std=0.3)
    for n in (1, 29, 58, 299):
        assert torch.equal(fine.degrade(x, steps[n]), fine.at(x, torch.tensor([n, n]), None))


def test_bad_input():
    x, blur = pictures(), Blur()
    for state, message in ((x[0], r"got shape \(2, 8, 6\)"), ({"a": x}, "leaves")):
        with pytest.raises(InvalidInput, match=message):
            blur.degrade(state, as_time(0.5))
    with pytest.raises(InvalidInput, match=r"times in \[0, 1\]"):
        blur.degrade(x, as_time(1.5))
    with pytest.raises(SpecError, match="odd size, got 4"):
        Blur(kernel=4)
    with pytest.raises(SpecError, match="covariance must have 4 numbers"):
        Blur(to_mean=True, mean=(0.0, 0.0), covariance=(1.0,))
    with pytest.raises(SpecError, match="to_mean=True"):
        Blur(mean=(0.0,), covariance=(1.0,))


def test_the_prior_of_colours():
    n, data = 20_000, pictures(n=500, channels=2, height=2, width=3) * 0.3 + 0.2
    fitted = Colours.fit(data)
    torch.testing.assert_close(torch.tensor(fitted.mean, dtype=F64), data.mean((0, 2, 3)))
    blur = Blur(to_mean=True, mean=fitted.mean, covariance=(0.5, 0.2, 0.2, 0.3), broken=0.1)
    like = torch.zeros(n, 2, 2, 3, dtype=F64)
    law = blur.prior(like)
    x = law.sample(Rng.of(0, n)).flatten(1)
    colour = torch.tensor([[0.5, 0.2], [0.2, 0.3]], dtype=F64)
    spread = torch.kron(colour, torch.ones(6, 6, dtype=F64)) + 0.01 * torch.eye(12, dtype=F64)
    mean = torch.tensor(fitted.mean, dtype=F64).repeat_interleave(6)
    assert mean_within(x, mean)
    assert covariance_within(x, spread)
    exact = torch.distributions.MultivariateNormal(mean, spread).log_prob(x[:50])
    small = blur.prior(like[:50])
    torch.testing.assert_close(small.log_prob(x[:50].view(50, 2, 2, 3)), exact)
    flat = Blur(to_mean=True, mean=(0.1,), covariance=(0.5,)).prior(like[:3, :1])
    draw = flat.sample(Rng.of(0, 3))
    assert torch.equal(draw, draw[:, :, :1, :1].expand_as(draw))
    with pytest.raises(Unsupported, match="no density"):
        flat.log_prob(draw)
    with pytest.raises(InvalidInput, match="images of 1 channels, got 2"):
        Blur(to_mean=True, mean=(0.1,), covariance=(0.5,)).prior(like[:3])
    assert Blur().prior(like[:3]) is None
