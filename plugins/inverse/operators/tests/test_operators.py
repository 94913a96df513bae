"""Each operator against an independent computation; shapes, seeds and errors."""

import attrs
import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from suffuse_operators.dense import CompressedSensing, Matrix, Tomography, matrix_of
from suffuse_operators.fourier import Fourier, MotionBlur, hartley
from suffuse_operators.masks import Box, Inpaint
from suffuse_operators.noise import GaussianNoise, PoissonNoise
from suffuse_operators.nonlinear import HighDynamicRange, PhaseRetrieval
from suffuse_operators.separable import GaussianBlur, SuperResolution

from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng

F64 = torch.float64
LINEAR = [
    Inpaint(keep=0.4),
    Box(share=0.4),
    SuperResolution(factor=2),
    SuperResolution(factor=4, kernel="average"),
    GaussianBlur(std=0.7),
    GaussianBlur(std=3.0),  # most of its singular values are below float32's resolution
    MotionBlur(length=5.0),
    Fourier(keep=0.4),
    Fourier(keep=1.0),
    CompressedSensing(shape=(2, 12, 12), ratio=0.3),
    Tomography(size=12, views=4),
]


def images(n=3, c=2, size=12, seed=0):
    return torch.rand(n, c, size, size, generator=torch.Generator().manual_seed(seed), dtype=F64) * 2 - 1


@pytest.mark.parametrize("operator", LINEAR, ids=lambda o: type(o).__name__)
def test_prox_and_pseudo_inverse_are_those_of_the_matrix(operator):
    x, y = images(), operator.A(images(seed=1)) + 0.3
    a = matrix_of(operator, x.shape[1:])
    rows, seen = y.flatten(1), x.flatten(1)
    for gamma in (0.3, torch.tensor([0.1, 1.0, 30.0], dtype=F64)):
        g = torch.as_tensor(gamma, dtype=F64).expand(3)
        eye = torch.eye(len(a.mT), dtype=F64)
        wanted = torch.stack(
            [torch.linalg.solve(eye + k * a.mT @ a, r + k * a.mT @ v) for k, r, v in zip(g, seen, rows, strict=True)]
        )
        # Singular values below 1.2e-7 are left out.
        torch.testing.assert_close(operator.prox(x, y, gamma).flatten(1), wanted, rtol=0, atol=1e-5)
    least = operator.A_dagger(operator.A(x)).flatten(1)
    inside = operator.svd(x)
    torch.testing.assert_close(least, inside.V(inside.V_adjoint(x)).flatten(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("operator", LINEAR, ids=lambda o: type(o).__name__)
def test_float32_is_kept_and_gradients_flow(operator):
    x = images().float().requires_grad_()
    y = operator.A(x)
    d = operator.svd(x)
    outputs = [y, operator.A_adjoint(y), operator.A_dagger(y), operator.prox(x, y, 1.0), d.V_adjoint(x)]
    assert {o.dtype for o in outputs} == {torch.float32}
    assert d.s.dtype == torch.float32
    assert all(torch.autograd.grad(o.sum(), x, retain_graph=True)[0].isfinite().all() for o in outputs)
    with torch.inference_mode():  # what is kept from here must serve gradients later
        fresh = attrs.evolve(operator, noise=GaussianNoise(std=0.123))
        fresh.svd(x.detach())
    torch.autograd.grad(fresh.prox(x, y.detach(), 1.0).sum(), x)


def test_the_gaussian_blur_is_scipys():
    x = images(1, 1, 16)
    wanted = ndimage.gaussian_filter(x[0, 0].numpy(), 1.3, mode="reflect", radius=7)
    np.testing.assert_allclose(GaussianBlur(std=1.3).A(x)[0, 0].numpy(), wanted, atol=1e-12)


def test_bicubic_reduction_is_torchs_away_from_the_edges():
    x = images(2, 3, 40)
    wanted = torch.nn.functional.interpolate(x, scale_factor=0.25, mode="bicubic", antialias=True)
    torch.testing.assert_close(SuperResolution().A(x)[..., 2:-2, 2:-2], wanted[..., 2:-2, 2:-2], rtol=0, atol=1e-12)
    flat = torch.full((1, 1, 8, 8), 0.7, dtype=F64)
    torch.testing.assert_close(SuperResolution(factor=2).A(flat), flat[..., :4, :4])


def test_block_averages_are_average_pooling():
    x = images(2, 3, 12)
    got = SuperResolution(factor=3, kernel="average").A(x)
    torch.testing.assert_close(got, torch.nn.functional.avg_pool2d(x, 3))


def test_motion_blur_is_a_periodic_convolution_with_a_path():
    operator, x = MotionBlur(length=6.0, seed=3), images(1, 1, 12)
    kernel = operator.kernel(12, 12)
    assert kernel.sum().item() == pytest.approx(1)
    assert (kernel >= 0).all()
    wanted = ndimage.convolve(x[0, 0].numpy(), np.roll(kernel.numpy(), (6, 6), (0, 1)), mode="wrap", origin=0)
    np.testing.assert_allclose(operator.A(x)[0, 0].numpy(), wanted, atol=1e-12)
    straight = MotionBlur(length=6.0, intensity=0.0, seed=3).kernel(24, 24)
    where = straight.nonzero().double()
    at = torch.where(where > 12, where - 24, where)
    assert torch.linalg.svdvals(at - at.mean(0))[1] < 4  # all along one line, but for a pixel's width


def test_the_hartley_transform_is_its_own_inverse():
    x = images()
    torch.testing.assert_close(hartley(hartley(x)), x)
    torch.testing.assert_close(hartley(x).square().sum(), x.square().sum())


def test_undersampled_fourier_keeps_the_lowest_columns_and_the_share_asked_for():
    columns = Fourier(keep=0.3, centre=0.1).columns(torch.empty(1, 1, 40, 40))
    assert columns.sum() == 12
    assert columns[[0, 1, 39]].all()
    z = torch.fft.fft2(images(1, 1, 40)[0, 0], norm="ortho")
    y = Fourier(keep=0.3, centre=0.1).A(images(1, 1, 40))[0, 0]
    torch.testing.assert_close(torch.complex(*y), z * columns)


def test_projections_keep_the_mass_and_the_first_view_sums_columns():
    x, operator = images(2, 3, 16), Tomography(size=16, views=7)
    y = operator.A(x)
    assert y.shape == (2, 3, 7, operator.measured[1])
    torch.testing.assert_close(y.sum(3) * 16, x.sum((2, 3))[..., None].expand(2, 3, 7))
    column_means = torch.stack([x.mean(2)[..., 0] * 0, *x.mean(2).unbind(2)], 2)
    at = (operator.measured[1] - 16) // 2
    torch.testing.assert_close(y[:, :, 0, at : at + 16], column_means[..., 1:])


def test_masks():
    x = images(2, 3, 10)
    mask = Inpaint(keep=0.31, seed=4).mask(x)
    assert mask.shape == (1, 1, 10, 10)
    assert mask.sum() == 31
    assert not torch.equal(mask, Inpaint(keep=0.31, seed=5).mask(x))
    assert Inpaint(keep=0.5).mask(torch.empty(7, 6)).sum() == 3
    assert (Box(share=0.4).A(x) == 0)[:, :, 3:7, 3:7].all()
    assert Box(share=0.4).mask(x).sum() == 100 - 16
    y = Inpaint(keep=0.31).measure(x, Rng.of(0, 2))
    assert ((y != 0) == Inpaint(keep=0.31).mask(x).bool()).all()  # no noise where nothing is seen


def test_compressed_sensing_keeps_its_first_rows():
    few, many = (CompressedSensing(shape=(4, 4), ratio=r).matrix() for r in (0.25, 0.5))
    assert few.shape == (4, 16)
    assert many.shape == (8, 16)


def test_phase_retrieval_does_not_see_signs_and_half_turns():
    operator, x = PhaseRetrieval(), images(2, 1, 8)
    assert operator.A(x).shape == (2, 1, 12, 12)
    torch.testing.assert_close(operator.A(-x), operator.A(x))
    torch.testing.assert_close(operator.A(x.flip(2, 3)), operator.A(x))
    torch.testing.assert_close(operator.A(x).square().sum((1, 2, 3)), x.square().sum((1, 2, 3)))


def test_over_exposure_clips():
    x = torch.tensor([[-0.9, -0.25, 0.0, 0.4, 0.7]])
    torch.testing.assert_close(HighDynamicRange().A(x), torch.tensor([[-1.0, -0.5, 0.0, 0.8, 1.0]]))


def test_photon_counts_follow_poissons_law():
    noise = PoissonNoise(peak=6.0)
    clean = torch.full((1, 20_000), 0.2, dtype=F64)
    y = noise.sample(clean, Rng.of(0, 1))
    counts = ((y + 1) / 2 * 6).round()
    torch.testing.assert_close(noise._counts(y), counts)
    expected = stats.poisson.pmf(np.arange(12), 3.6) * 20_000
    found = torch.bincount(counts[0].long(), minlength=12)[:12].numpy()
    seen = expected > 20
    assert ((found - expected)[seen] ** 2 / expected[seen]).sum() < stats.chi2.ppf(1 - 1e-6, seen.sum())
    exact = stats.poisson.logpmf(counts[0, :50].numpy(), 3.6)
    np.testing.assert_allclose(noise.log_prob(y, clean)[0, :50].numpy(), exact, atol=1e-9)
    dark = torch.full((1, 3), -1.5)
    assert (noise.sample(dark, Rng.of(0, 1)) == -1).all()
    assert noise.log_prob(torch.zeros(1, 3), dark).isfinite().all()


def test_no_noise_is_not_drawn_and_has_no_likelihood():
    noise, clean = GaussianNoise(std=0.0), torch.ones(2, 3)
    assert noise.sample(clean, Rng.of(0, 2)) is clean
    with pytest.raises(Unsupported, match="std above 0"):
        noise.log_prob(clean, clean)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GaussianBlur().A(torch.zeros(2, 8)), InvalidInput, r"GaussianBlur takes images .* got shape \(2, 8\)"),
        (lambda: SuperResolution(factor=4).A(torch.zeros(1, 1, 8, 10)), InvalidInput, "8 x 10 pixels .* factor of 4"),
        (
            lambda: Tomography(size=8).A(torch.zeros(1, 1, 9, 9)),
            InvalidInput,
            r"\(batch, ..., 8, 8\), got \(1, 1, 9, 9\)",
        ),
        (lambda: Tomography(size=8).A_adjoint(torch.zeros(1, 9)), InvalidInput, r"12, 14\), got \(1, 9\)"),
        (lambda: Fourier().A_adjoint(torch.zeros(1, 3, 8, 8)), InvalidInput, r"2, 8, 8\), got \(1, 3, 8, 8\)"),
        (lambda: Matrix(rows=((1.0, 2.0), (3.0,))), SpecError, "all of one length"),
        (lambda: Matrix(rows=((1.0, 2.0),), shape=(3,)), SpecError, r"2 columns .* \(3,\)"),
        (lambda: Matrix(rows=((1.0, float("nan")),)), SpecError, "finite"),
        (lambda: CompressedSensing(shape=(3, 64, 64)), SpecError, "1 to 4096 elements"),
        (lambda: Inpaint(keep=0.0), SpecError, "keep must be above 0"),
        (lambda: PoissonNoise(low=1.0, high=0.0), SpecError, "low must be below high"),
    ],
)
def test_bad_input_is_refused_in_words(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_matrices_read_states_row_by_row():
    a = torch.arange(12.0).reshape(2, 6).double()
    x = images(3, 1, 6)[:, 0, :2, :3]
    y = Matrix.of(a, shape=(2, 3)).A(x)
    torch.testing.assert_close(y, x.flatten(1) @ a.mT)
    torch.testing.assert_close(matrix_of(Matrix.of(a, shape=(2, 3)), (2, 3)), a)
