import math

import pytest
import torch
from suffuse_edm.claims import UnitVariance, Vp
from suffuse_edm.loss import EdmLoss, Lambda, LogNormal
from suffuse_edm.precondition import Precondition
from suffuse_edm.process import Edm
from torch import nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone
from suffuse.contracts.objective import Batch
from suffuse.contracts.process import as_time
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, Unsupported
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import NoisePrediction
from suffuse.testing.statistics import covariance_within, mean_within

SD = 0.5
LEVELS = torch.logspace(-3, 1.9, 60, dtype=torch.float64)


class Zero(Backbone):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleDict()
        self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, c_noise, cond):
        return self.weight * x


class Sine(Zero):
    """Something that is no optimum, and depends on both inputs."""

    def forward(self, x, c_noise, cond):
        return torch.sin(3 * x) + c_noise.reshape(-1, 1)


def table_one(sigma):
    root = (sigma**2 + SD**2).sqrt()
    return SD**2 / root**2, sigma * SD / root, 1 / root, sigma.log() / 4


@pytest.mark.parametrize("process", [Edm(), Vp()], ids=["edm", "vp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_denoiser_is_that_of_table_one(process, dtype):
    t = process.time(-2 * LEVELS.log())
    alpha, sigma = process.scalars(t)
    level = (sigma / alpha)[:, None]
    c_skip, c_out, c_in, c_noise = table_one(level)
    clean = torch.randn(len(t), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled = clean * (level**2 + SD**2).sqrt()  # x/alpha at its typical size
    expected = c_skip * scaled + c_out * (torch.sin(3 * c_in * scaled) + c_noise)
    model = Preconditioned(backbone=Sine().to(dtype), parameterization=Precondition(), trained=process)
    x0 = model((alpha[:, None] * scaled).to(dtype), t, Condition(), process=process).x0
    assert x0.dtype == dtype
    # c_skip x cancels nothing; the network's sine has slope 3, and the values are below about 100.
    torch.testing.assert_close(x0.double(), expected, rtol=0, atol=2e3 * torch.finfo(dtype).eps)


def test_a_zero_network_is_optimal_for_gaussian_data():
    system = mixture_system(GaussianMixture.single([0.0, 0.0], SD**2), Edm())
    model = Preconditioned(backbone=Zero(), parameterization=Precondition(), trained=Edm())
    t = LEVELS / 80
    x = torch.randn(len(t), 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 80
    exact = system.denoise(x, t, Condition()).x0
    torch.testing.assert_close(model(x, t, Condition(), process=Edm()).x0, exact, rtol=1e-12, atol=1e-12)


def test_input_and_target_have_unit_variance():
    assert UnitVariance().measure(0).effect > 0


def test_the_preconditioning_is_finite_at_the_ends_of_time():
    for process in (Edm(), Vp()):
        a, b = Precondition().mix(process, as_time([0.0, 1.0]))
        assert (a[0], b[0]) == (0, -1)
        assert a.isfinite().all()
        assert b.isfinite().all()
        with pytest.raises(Unsupported, match="infinite at zero noise"):
            Precondition().scaling(process, as_time(0.0))


def test_noise_levels_are_log_normal():
    t, weights = LogNormal().draw(Edm(), 100_000, Rng.of(0, 100_000))
    logs = (80 * t).log()[:, None]
    assert t.dtype == torch.float64
    assert (weights == 1).all()
    # Clipping at 80 moves the moments by less than 1e-5, far below the standard errors.
    assert mean_within(logs, -1.2)
    assert covariance_within(logs, as_time([[1.2**2]]))
    quantile = (logs < -1.2 + 1.2).double()  # one standard deviation above the mean
    assert mean_within(quantile, 0.5 * (1 + math.erf(1 / math.sqrt(2))))
    few, _ = LogNormal().draw(Edm(), 10, Rng.of(0, 10))
    assert torch.equal(few, t[:10])


def test_levels_beyond_the_process_are_its_end():
    t, _ = LogNormal(p_mean=3.0).draw(Edm(sigma_max=1.0), 1000, Rng.of(0, 1000))
    assert t.max() == 1
    assert (t > 0).all()


@pytest.mark.parametrize("process", [Edm(), Vp()], ids=["edm", "vp"])
def test_lambda_in_every_reading(process):
    t = process.time(-2 * LEVELS.log())
    alpha, sigma = process.scalars(t)
    _, c_out, _, _ = table_one(sigma / alpha)
    weight = Lambda().weight
    torch.testing.assert_close(
        weight(process, t, Precondition().mix(process, t)), torch.ones_like(t), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(weight(process, t, (1.0, 0.0)), 1 / c_out**2, rtol=1e-9, atol=0)
    torch.testing.assert_close(weight(process, t, (0.0, 1.0)), (sigma / alpha / c_out) ** 2, rtol=1e-9, atol=0)
    with pytest.raises(Unsupported, match="lambda is infinite"):
        weight(process, as_time(0.0), (1.0, 0.0))


@pytest.mark.parametrize("parameterization", [Precondition(), NoisePrediction()], ids=["edm", "eps"])
def test_the_loss_is_lambda_times_the_denoising_error(parameterization):
    n = 64
    x0 = torch.randn(n, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * SD
    model = Preconditioned(backbone=Sine(), parameterization=parameterization, trained=Edm())
    system = System(model=model, space=Euclidean(shape=(3,)))
    rng, batch = Rng.of(5, n), Batch(x=x0, cond=Condition(), index=torch.arange(n))
    loss = EdmLoss().loss("model", batch, system, {}, rng).per_sample

    t, _ = LogNormal().draw(Edm(), n, rng)
    sigma = 80 * t[:, None]
    noisy = Edm().corrupt(x0, t, rng=rng).x_t
    d = model(noisy, t, Condition(), process=Edm()).x0
    by_hand = ((sigma**2 + SD**2) / (sigma * SD) ** 2 * (d - x0) ** 2).mean(1)
    # D is reached through the network's output here and not there: at sigma = 0.01 the difference loses four digits.
    torch.testing.assert_close(loss, by_hand, rtol=1e-9, atol=1e-12)

    half = Batch(x=x0[:32], cond=Condition(), index=torch.arange(32))
    assert torch.equal(EdmLoss().loss("model", half, system, {}, rng.index(slice(0, 32))).per_sample, loss[:32])


def test_the_loss_needs_data():
    with pytest.raises(InvalidInput, match="learns from data"):
        EdmLoss().loss("model", None, mixture_system(GaussianMixture.ring(), Edm()), {}, Rng.of(0, 1))
