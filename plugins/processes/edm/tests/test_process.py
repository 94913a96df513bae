import math

import pytest
import torch
from suffuse_edm.claims import Vp
from suffuse_edm.grid import Rho
from suffuse_edm.process import Edm

from suffuse.contracts.process import as_time
from suffuse.errors import SpecError, Unsupported
from suffuse.testing.stand_ins import Circle

EPS = torch.finfo(torch.float64).eps


def test_kernel_derivative_and_prior_are_the_closed_forms():
    process, t = Edm(sigma_max=80.0), as_time([0.0, 0.25, 1.0])
    alpha, sigma = process.scalars(t)
    assert alpha.tolist() == [1, 1, 1]
    assert sigma.tolist() == [0, 20, 80]
    d = process.derivative(t)
    assert d.alpha.tolist() == [0, 0, 0]
    assert d.sigma.tolist() == [80, 80, 80]
    assert process.prior(torch.zeros(3, 2)).std.item() == 80


def test_the_inverse_is_exact_to_rounding():
    process, t = Edm(), torch.linspace(1e-6, 1, 1000, dtype=torch.float64)
    # exp(ln sigma): the exponent's own rounding, at most |ln sigma| + 2 units in the last place.
    bound = (2 + (80 * t).log().abs()) * 2 * EPS
    assert ((process.time(process.log_snr(t)) / t - 1).abs() <= bound).all()
    assert process.log_snr(as_time(0.0)) == math.inf
    assert process.time(as_time([math.inf, -math.inf])).tolist() == [0, 1]


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0, 10.0])
@pytest.mark.parametrize("steps", [2, 18, 256])
def test_the_grid_is_the_published_formula(rho, steps):
    low, high = 0.002, 80.0
    published = [
        (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(steps)
    ]
    times = Rho(rho=rho).times(Edm(), steps)
    # At rho = 1 the formula as printed subtracts 80 from 80 at its last point, and rounds as 80 does.
    torch.testing.assert_close(80 * times, as_time(published), rtol=1e-12, atol=2 * high * EPS)
    assert times[0] == 1.0
    assert abs(80 * times[-1].item() / low - 1) < 16 * EPS  # through a logarithm and back


def test_the_grid_has_the_same_levels_on_every_process():
    for process in (Vp(), Circle()):
        times = Rho().times(process, 40)
        alpha, sigma = process.scalars(times)
        assert (times.diff() < 0).all()
        torch.testing.assert_close(sigma / alpha, 80 * Rho().times(Edm(), 40), rtol=1e-9, atol=0)


def test_the_grid_stops_where_the_process_does():
    short = Edm(sigma_max=10.0)
    times = Rho().times(short, 18)
    assert times[0] == 1.0
    torch.testing.assert_close(times, Rho(sigma_max=10.0).times(short, 18), rtol=0, atol=0)
    assert Rho().times(Edm(), 1).tolist() == [1.0]
    with pytest.raises(Unsupported, match="noise levels from 0 to"):
        Rho().times(Edm(sigma_max=0.001), 18)
    with pytest.raises(SpecError, match="sigma_min must be below sigma_max"):
        Rho(sigma_min=2.0, sigma_max=1.0)
