"""The statistics against brute force, scipy and closed forms; their errors and p-values against repetition."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from suffuse.testing import statistics as module
from suffuse.testing.statistics import (
    bootstrap_interval,
    classifier_test,
    compare,
    covariance_within,
    energy_distance,
    mean_within,
    mmd,
    sliced_wasserstein,
    slope,
    t_interval,
)

F64 = torch.float64


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def brute(x, y, kernel):
    """The U-statistic, by its definition."""
    xx = [kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    yy = [kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    xy = [kernel(a, b) for a in x for b in y]
    return sum(xx) / len(xx) + sum(yy) / len(yy) - 2 * sum(xy) / len(xy)


KERNELS = {
    "energy": (energy_distance, lambda a, b: -(a - b).norm().item()),
    "gaussian": (
        partial(mmd, scales=(0.5, 2.0), length=1.5),
        lambda a, b: sum(math.exp(-((a - b).norm().item() ** 2) / (2 * h * h)) for h in (0.75, 3.0)) / 2,
    ),
    "rational": (
        partial(mmd, kernel="rational", scales=(1.0,), length=0.8),
        lambda a, b: 1 / (1 + (a - b).norm().item() ** 2 / (2 * 0.64)),
    ),
}


@pytest.mark.parametrize("block", [1, 1 << 22])
@pytest.mark.parametrize("name", KERNELS)
def test_quadratic_statistics_by_definition(name, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    function, kernel = KERNELS[name]
    x, y = randn(6, 2), 0.5 + randn(9, 2, seed=1)
    result = function(x, y)
    assert result.value == pytest.approx(brute(x, y, kernel), rel=1e-10)
    assert (result.n, result.m) == (6, 9)
    left_x = [brute(torch.cat([x[:i], x[i + 1 :]]), y, kernel) for i in range(6)]
    left_y = [brute(x, torch.cat([y[:i], y[i + 1 :]]), kernel) for i in range(9)]
    assert result.standard_error == pytest.approx(math.sqrt(5 * np.var(left_x) + 8 * np.var(left_y)), rel=1e-9)


def test_quadratic_statistics_by_closed_form():
    """Two unit Gaussians on the line, delta apart."""
    delta, n = 0.7, 3000
    x, y = randn(n, 1), delta + randn(n, 1, seed=1)

    def mean_distance(shift):  # E|N(shift, 2)|, the folded normal
        s = math.sqrt(2)
        return s * math.sqrt(2 / math.pi) * math.exp(-(shift**2) / 4) + shift * (1 - 2 * stats.norm.cdf(-shift / s))

    result = energy_distance(x, y)
    assert abs(result.value - 2 * (mean_distance(delta) - mean_distance(0))) < 5 * result.standard_error
    result = mmd(x, y, scales=(1.0,), length=1.0)
    exact = 2 / math.sqrt(3) * (1 - math.exp(-(delta**2) / 6))
    assert abs(result.value - exact) < 5 * result.standard_error
    assert result.standard_error < 0.1 * exact


@pytest.mark.parametrize(("n", "m"), [(7, 7), (7, 5), (4, 12), (10, 13)])
@pytest.mark.parametrize("order", [1, 2])
def test_wasserstein_on_the_line(n, m, order):
    x, y = randn(n, 1), 0.3 + 2 * randn(m, 1, seed=1)
    ours = sliced_wasserstein(x, y, order=order, groups=2).value
    common = math.lcm(n, m)  # repeated to a common size, the optimal coupling is that of the sorted points
    a, b = (v[:, 0].sort().values.repeat_interleave(common // len(v)) for v in (x, y))
    assert ours == pytest.approx(((a - b).abs() ** order).mean().item() ** (1 / order), rel=1e-12)
    if order == 1:
        assert ours == pytest.approx(stats.wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy()), rel=1e-12)


@pytest.mark.parametrize("dim", [2, 6])
def test_sliced_wasserstein_of_a_translation(dim):
    """SW_2 of a shift v is |v| / sqrt(D) exactly, so that only the directions are random."""
    x, v = randn(50, dim), torch.linspace(1, 2, dim, dtype=F64)
    values = [sliced_wasserstein(x, x + v, directions=200, seed=s) for s in range(30)]
    exact = v.norm().item() / math.sqrt(dim)
    for value in values:
        assert abs(value.value - exact) < 5 * value.standard_error
    # Far away no other error counts, and the variance of (v . direction)^2 is 2 (D - 1) |v|^4 / (D^2 (D + 2)). Its
    # estimate from 60 * 200 directions, of kurtosis below 10, is known to sqrt(9 / 12000) = 2.7 %.
    far = [sliced_wasserstein(x, x + 1000 * v, directions=200, seed=s).standard_error for s in range(60)]
    error = 1000 * exact * math.sqrt(2 * (dim - 1) / (dim + 2) / 200) / 2
    assert np.mean(np.square(far)) == pytest.approx(error**2, rel=5 * 0.027)
    assert sliced_wasserstein(x, x).value == 0
    assert values[0] == sliced_wasserstein(x, x + v, directions=200, seed=0)


@pytest.mark.parametrize("function", [energy_distance, mmd, partial(sliced_wasserstein, directions=32)])
def test_standard_errors_match_repetition(function):
    repeats = 150
    results = [function(randn(60, 2, seed=2 * s), 1 + randn(80, 2, seed=2 * s + 1)) for s in range(repeats)]
    spread = np.std([r.value for r in results], ddof=1)
    claimed = math.sqrt(np.mean([r.standard_error**2 for r in results]))
    # A standard deviation of 150 values is itself known to 1 / sqrt(300) = 6 %; jackknives err upwards.
    assert 1 - 4 * 0.058 < claimed / spread < 1 + 4 * 0.058 + 0.15


NAMES = ["energy", "mmd", "sliced_wasserstein", "classifier"]


def test_named_permutations_are_those_of_the_function():
    x, y = randn(12, 2), 0.6 + randn(15, 2, seed=1)
    functions = {
        "energy": energy_distance,
        "mmd": partial(mmd, length=1.0),
        "sliced_wasserstein": partial(sliced_wasserstein, seed=5),
        "classifier": partial(classifier_test, seed=5),
    }
    settings = {"mmd": {"length": 1.0}}
    for name, function in functions.items():
        slow = compare(x, y, lambda a, b, f=function: f(a, b).value, permutations=59, seed=5)
        fast = compare(x, y, name, permutations=59, seed=5, **settings.get(name, {}))
        assert fast.value == pytest.approx(slow.value, rel=1e-10), name
        assert fast.p_value == slow.p_value, name
        assert fast.name == name


@pytest.mark.parametrize("name", NAMES)
def test_p_values_are_uniform_under_the_null(name):
    repeats, permutations = 200, 19
    p = np.array(
        [
            compare(randn(20, 2, seed=2 * s), randn(30, 2, seed=2 * s + 1), name, permutations=permutations).p_value
            for s in range(repeats)
        ]
    )
    for level in (0.05, 0.25, 0.5):
        chance = stats.binom.cdf(np.sum(p <= level + 1e-9), repeats, level)
        # The accuracy of a classifier has ties, which only make p-values larger.
        assert chance < 1 - 1e-4, (level, np.mean(p <= level))
        assert name == "classifier" or chance > 1e-4, (level, np.mean(p <= level))


@pytest.mark.parametrize("name", NAMES)
def test_power(name):
    found = [
        compare(randn(100, 2, seed=2 * s), 0.8 + randn(100, 2, seed=2 * s + 1), name, permutations=39).p_value
        for s in range(10)
    ]
    assert max(found) <= 0.05, found


def test_mmd_sees_what_only_a_short_length_shows():
    """A ring of narrow modes against the same ring blurred: the medians agree, the modes do not."""
    angle = torch.arange(400, dtype=F64) * (math.pi / 4)
    ring = torch.stack([angle.cos(), angle.sin()], -1)
    x, y = ring + 0.02 * randn(400, 2), ring + 0.15 * randn(400, 2, seed=1)
    assert compare(x, y, "mmd", scales=(0.1,)).p_value == 1 / 200


@pytest.mark.parametrize("classifier", ["knn", "logistic"])
def test_classifier(classifier):
    test = partial(classifier_test, classifier=classifier)
    repeats = 300
    p = np.array([test(randn(40, 3, seed=2 * s), randn(50, 3, seed=2 * s + 1)).p_value for s in range(repeats)])
    for level in (0.05, 0.2):
        assert stats.binom.cdf(np.sum(p <= level), repeats, level) < 1 - 1e-4
    x, y = randn(2000, 1), 1 + randn(2000, 1, seed=1)
    shifted = test(x, y)
    # The Bayes accuracy, which logistic regression reaches and nearest neighbours nearly do.
    assert abs(shifted.value - stats.norm.cdf(0.5)) < 5 * shifted.standard_error
    assert shifted.p_value < 1e-10
    small = test(randn(30, 1), 1 + randn(40, 1, seed=1))
    correct = round(small.value * 30)
    assert small.p_value == pytest.approx(stats.binomtest(correct, 30, 0.5, "greater").pvalue)
    assert test(randn(500, 2), 2 * randn(600, 2, seed=1)).p_value < 1e-4
    constant = torch.zeros(20, 2)
    assert test(constant, constant).p_value > 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_samples_are_compared_in_double(dtype):
    x, y = randn(40, 2).to(dtype), randn(50, 2, seed=1).to(dtype)
    for function in (energy_distance, mmd, sliced_wasserstein, classifier_test, compare):
        assert function(x, y) == function(x.double(), y.double())
    assert mean_within(x, torch.zeros(2))


def test_points_that_coincide():
    x = torch.zeros(20, 2)
    assert energy_distance(x, x).value == 0
    assert mmd(x, x).value == pytest.approx(0, abs=1e-12)
    for name in ("energy", "mmd", "sliced_wasserstein"):
        assert compare(x, x, name).p_value == 1


@pytest.mark.parametrize("name", ["energy", "mmd", "sliced_wasserstein"])
def test_ties_count_against_a_difference(name):
    x, y, permutations = 0.1 * torch.arange(3.0)[:, None], 0.1 * torch.arange(3.0, 6.0)[:, None], 99
    generator = torch.Generator().manual_seed(0)
    splits = [set(torch.randperm(6, generator=generator)[:3].tolist()) for _ in range(permutations)]
    extreme = sum(split in ({0, 1, 2}, {3, 4, 5}) for split in splits)  # the split itself, and x and y exchanged
    assert extreme > 0
    assert compare(x, y, name, permutations=permutations).p_value == (1 + extreme) / (1 + permutations)


def test_moments_within_their_error():
    n = 5000
    root = torch.tensor([[1.0, 0.0], [2.0, 0.5]], dtype=F64)
    x = randn(n, 2) @ root.T + 3
    covariance = root @ root.T
    assert mean_within(x, 3.0 * torch.ones(2))
    assert covariance_within(x, covariance)
    error = x.std(0) / math.sqrt(n)
    off = mean_within(x, x.mean(0) + 6 * error)
    assert not off
    assert off.worst == pytest.approx(6, rel=1e-6)
    assert mean_within(x, x.mean(0) + 6 * error, z=7)
    assert not covariance_within(x, 1.15 * covariance)  # the error of a variance is 2 % of it
    assert mean_within(torch.ones(10, 3), torch.ones(3))
    assert not mean_within(torch.ones(10, 3), torch.full((3,), 1.01))
    assert mean_within(torch.zeros(10), torch.tensor(0.0))
    zs = [mean_within(randn(50, 1, seed=s), torch.zeros(1)).worst for s in range(300)]
    assert 1e-4 < stats.binom.cdf(sum(z < 1 for z in zs), 300, 2 * stats.t.cdf(1, 49) - 1) < 1 - 1e-4
    zs = [covariance_within(randn(200, 1, seed=s), torch.ones(1, 1)).worst for s in range(300)]
    assert stats.binom.cdf(sum(z < 2 for z in zs), 300, 0.954) > 1e-4


def test_intervals():
    values = randn(12).tolist()
    ours = t_interval(values, 0.9)
    low, high = stats.t.interval(0.9, 11, np.mean(values), stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high))
    assert ours.excludes(high + 0.1)
    assert not ours.excludes(ours.estimate)
    covered = sum(not t_interval(randn(5, seed=s)).excludes(0.0) for s in range(400))
    assert 1e-4 < stats.binom.cdf(covered, 400, 0.95) < 1 - 1e-4
    boot = bootstrap_interval(randn(200), np.median)
    assert boot == bootstrap_interval(randn(200), np.median)
    assert boot.low < boot.estimate < boot.high
    covered = sum(not bootstrap_interval(randn(40, seed=s), resamples=400).excludes(0.0) for s in range(200))
    assert stats.binom.cdf(covered, 200, 0.92) > 1e-4  # the bootstrap of 40 points covers a little less than 95 %
    same = bootstrap_interval([2.0, 2.0, 2.0])
    assert (same.low, same.high) == (2.0, 2.0)


def test_slope():
    steps = [4, 8, 16, 32]
    exact = slope(steps, [3.0 * s**-2 for s in steps])
    assert exact.value == pytest.approx(2)
    assert exact.standard_error < 1e-7
    noise = [
        slope(steps, [s**-2.0 * math.exp(0.1 * e) for s, e in zip(steps, randn(4, seed=k).tolist(), strict=True)])
        for k in range(400)
    ]
    # Student's t with two degrees of freedom.
    inside = sum(abs(r.value - 2) < stats.t.ppf(0.95, 2) * r.standard_error for r in noise)
    assert 1e-4 < stats.binom.cdf(inside, 400, 0.9) < 1 - 1e-4


def test_bad_input_is_refused():
    x = randn(20, 2)
    calls = [
        (lambda: energy_distance(x, randn(20, 3)), r"y: expected \(n >= 3, 2\), got \(20, 3\)"),
        (lambda: energy_distance(x[0], x), "x: expected"),
        (lambda: energy_distance(x[:2], x), "n >= 3"),
        (lambda: mmd(x, x / 0), "y: expected finite"),
        (lambda: mmd(x, x, kernel="laplace"), "kernel: expected"),
        (lambda: mmd(x, x, scales=()), "positive scales"),
        (lambda: sliced_wasserstein(x, x, order=0.5), "order >= 1"),
        (lambda: sliced_wasserstein(x, x, groups=1), "groups"),
        (lambda: classifier_test(x, x, classifier="tree"), "classifier: expected"),
        (lambda: classifier_test(x, x, neighbours=4), "odd"),
        (lambda: compare(x, x, "fid"), "statistic: expected one of energy, mmd"),
        (lambda: compare(x, x, permutations=0), "permutations"),
        (lambda: mean_within(x, torch.zeros(3)), "expected: needs"),
        (lambda: mean_within(x[:1], 0.0), "at least 2"),
        (lambda: covariance_within(x[:, 0], torch.zeros(1, 1)), r"\(n, D\)"),
        (lambda: t_interval([1.0]), "at least 2"),
        (lambda: t_interval([1.0, math.nan]), "finite"),
        (lambda: slope([1, 2, 4], [1, 0.5, 0]), "positive errors"),
        (lambda: slope([2, 2, 2], [1, 0.5, 0.2]), "differing"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
    for name in ("energy", "sliced_wasserstein", "mmd", "classifier"):
        with pytest.raises(TypeError):
            compare(x, x, name, bandwidth=1.0)
