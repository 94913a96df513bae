import math

import pytest
import torch
from suffuse_energies.estimates import effective_sample_size, importance_log_z, lower_bound
from suffuse_energies.gaussian import Gaussian
from suffuse_energies.wasserstein import Wasserstein, wasserstein2

from suffuse.contracts.condition import Condition
from suffuse.contracts.task import Example
from suffuse.errors import InvalidInput

F64 = torch.float64


def test_equal_weights_are_exact():
    log_w = torch.full((12,), 3.5, dtype=F64)
    assert lower_bound(log_w) == 3.5
    for block in (None, 1, 3, 12):
        assert importance_log_z(log_w, block=block) == pytest.approx(3.5, abs=1e-12)
    assert effective_sample_size(log_w) == pytest.approx(1.0)


def test_one_weight_outweighs_all():
    log_w = torch.tensor([1000.0, 0.0, 0.0, 0.0], dtype=F64)
    assert effective_sample_size(log_w) == pytest.approx(0.25)
    assert importance_log_z(log_w) == pytest.approx(1000 - math.log(4))


def test_the_lower_bound_lies_below():
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        log_w = torch.randn(50, generator=g, dtype=F64)
        values = [float(importance_log_z(log_w, block=b)) for b in (1, 5, 25, 50)]
        assert values[0] == pytest.approx(float(lower_bound(log_w)))
        assert values[0] < values[-1]


def test_the_wasserstein_distance_on_a_line_is_that_of_sorted_samples():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 200, 1, generator=g, dtype=F64)
    expected = (x.sort(0).values - y.sort(0).values).square().mean().sqrt()
    assert wasserstein2(x, y) == pytest.approx(float(expected), rel=1e-12)
    assert wasserstein2(x, x.flip(0)) == pytest.approx(0.0, abs=1e-12)


def test_the_metric_takes_images_and_refuses_two_sizes():
    x, y = torch.randn(2, 10, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = Wasserstein().measure(Example(x=x, cond=Condition()), Example(x=y, cond=Condition()))
    assert found["w2"] == pytest.approx(wasserstein2(x.flatten(1), y.flatten(1)))
    with pytest.raises(InvalidInput, match=r"\(10, 1, 4, 4\) and \(9, 1, 4, 4\)"):
        wasserstein2(x, y[:9])


def test_bad_weights_are_refused():
    with pytest.raises(InvalidInput, match="divides 10"):
        importance_log_z(torch.zeros(10), block=3)
    with pytest.raises(InvalidInput, match="log-weights"):
        lower_bound(torch.zeros(2, 3))


def test_the_gaussian_s_kl_is_exact_for_any_weights():
    """log w of q = N(0, 1) against std 2: log Z minus its mean is the KL divergence."""
    x = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    target = Gaussian(dim=1, std=2.0)
    log_w = -target.energy(x) + 0.5 * x[:, 0] ** 2 + 0.5 * math.log(2 * math.pi)
    kl = math.log(2) + (0.25 - 1) / 2
    error = 5 * float(log_w.std()) / math.sqrt(len(x))
    assert abs(target.log_z - float(lower_bound(log_w)) - kl) < error
