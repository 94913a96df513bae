"""Two-sample statistics, permutation tests and intervals, each with its own Monte-Carlo error.

Samples are `(n, D)` and `(m, D)`, of any float dtype, computed in float64; n and m may differ. Nothing touches a global
random state: what is random takes a seed. Distances go through blocks, so that memory is linear in n + m.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

__all__ = [
    "Interval",
    "Statistic",
    "Within",
    "bootstrap_interval",
    "classifier_test",
    "compare",
    "covariance_within",
    "energy_distance",
    "mean_within",
    "mmd",
    "sliced_wasserstein",
    "slope",
    "t_interval",
]

_BLOCK = 1 << 22  # elements of the largest temporary


@frozen
class Statistic:
    """A number with its error: a standard error, a p-value, or both."""

    name: str
    value: float
    n: int
    m: int | None = None
    standard_error: float | None = None
    p_value: float | None = None


@frozen
class Interval:
    """A two-sided confidence interval."""

    estimate: float
    low: float
    high: float
    confidence: float
    n: int

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside."""
        return not self.low <= value <= self.high


@frozen
class Within:
    """Whether every entry agrees with its expectation; true or false by itself, so that `assert` prints it."""

    ok: bool
    worst: float  # the largest deviation, in standard errors
    limit: float

    def __bool__(self) -> bool:
        return self.ok


def _pair(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    for name, v in (("x", x), ("y", y)):
        if v.ndim != 2 or len(v) < least or v.shape[1] != x.shape[1]:
            columns = x.shape[1] if x.ndim == 2 else "D"
            raise ValueError(f"{name}: expected (n >= {least}, {columns}), got {tuple(v.shape)}")
        if not torch.isfinite(v).all():
            raise ValueError(f"{name}: expected finite values, got {int((~torch.isfinite(v)).sum())} that are not")
    return x.detach().to(torch.float64), y.detach().to(torch.float64)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Quadratic statistics: MMD^2 and the energy distance are one formula under two kernels.

Kernel = Callable[[Tensor], Tensor]  # distances to kernel values, elementwise


def _products(pooled: Tensor, members: Tensor, kernel: Kernel) -> Tensor:
    """`K Z` for the kernel matrix `K` `(N, N)`, its diagonal left out, and `Z` `(N, P)`."""
    # The expanded square is faster in many dimensions; it leaves points that coincide about 1e-8 apart.
    mode = "donot_use_mm_for_euclid_dist" if pooled.shape[1] <= 16 else "use_mm_for_euclid_dist"
    pooled = pooled - pooled.mean(0)
    rows = []
    for start, block in _numbered_blocks(pooled, len(pooled)):
        k = kernel(torch.cdist(block, pooled, compute_mode=mode))
        k.diagonal(offset=start).zero_()
        rows.append(k @ members)
    return torch.cat(rows)


def _numbered_blocks(x: Tensor, width: int) -> list[tuple[int, Tensor]]:
    size = max(1, _BLOCK // width)
    return [(start, x[start : start + size]) for start in range(0, len(x), size)]


def _unbiased(xx: Tensor, yy: Tensor, xy: Tensor, n: int, m: int) -> Tensor:
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)


def _quadratic_sums(members: Tensor, products: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of the kernel within x, within y and across, each `(P,)`."""
    xx, xt = (members * products).sum(0), (members * total).sum(0)
    return xx, total.sum() - 2 * xt + xx, xt - xx


def _quadratic(name: str, x: Tensor, y: Tensor, kernel: Kernel) -> Statistic:
    """The U-statistic and its delete-one jackknife error, both exact, from one pass over the kernel matrix."""
    n, m = len(x), len(y)
    member = torch.cat([torch.ones(n), torch.zeros(m)]).to(x)[:, None]
    products = _products(torch.cat([x, y]), torch.cat([member, torch.ones_like(member)], 1), kernel)
    to_x, total = products[:, 0], products[:, 1]
    to_y = total - to_x
    xx, yy, xy = (s[0] for s in _quadratic_sums(member, to_x[:, None], total[:, None]))
    without_x = _unbiased(xx - 2 * to_x[:n], yy, xy - to_y[:n], n - 1, m)
    without_y = _unbiased(xx, yy - 2 * to_y[n:], xy - to_x[n:], n, m - 1)
    variance = sum((len(v) - 1) * v.var(correction=0).item() for v in (without_x, without_y))
    return Statistic(name, _unbiased(xx, yy, xy, n, m).item(), n, m, math.sqrt(variance))


def _negative_distance(distance: Tensor) -> Tensor:
    return -distance


def energy_distance(x: Tensor, y: Tensor) -> Statistic:
    """`2 E|x - y| - E|x - x'| - E|y - y'|`, unbiased: zero on average for equal laws, so it may be negative.

    References:
        | Energy statistics: A class of statistics based on distances (Székely and Rizzo, 2013)
    """
    x, y = _pair(x, y, 3)
    return _quadratic("energy distance", x, y, _negative_distance)


def _mmd_kernel(
    pooled: Tensor,
    kernel: Literal["gaussian", "rational"] = "gaussian",
    scales: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
    length: float | None = None,
) -> Kernel:
    if kernel not in ("gaussian", "rational"):
        raise ValueError(f"kernel: expected 'gaussian' or 'rational', got {kernel!r}")
    if not scales or min(scales) <= 0 or (length is not None and length <= 0):
        raise ValueError(f"expected positive scales and length, got {scales} and {length}")
    unit = _median_distance(pooled) if length is None else length
    lengths = [scale * unit for scale in scales]

    def value(distance: Tensor) -> Tensor:
        square = distance * distance
        total = torch.zeros_like(square)
        for scale in lengths:
            ratio = square / (2 * scale * scale)
            total += torch.exp(-ratio) if kernel == "gaussian" else 1 / (1 + ratio)
        return total / len(lengths)

    return value


def _median_distance(pooled: Tensor) -> float:
    """The median positive distance between at most 1000 points, taken without regard to which sample they are from."""
    distances = torch.pdist(pooled[torch.randperm(len(pooled), generator=_generator(0))[:1000].to(pooled.device)])
    distances = distances[distances > 0]
    return distances.median().item() if len(distances) else 1.0


def mmd(
    x: Tensor,
    y: Tensor,
    *,
    kernel: Literal["gaussian", "rational"] = "gaussian",
    scales: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
    length: float | None = None,
) -> Statistic:
    """The squared maximum mean discrepancy, unbiased: zero on average for equal laws, so it may be negative.

    Args:
        x: `(n, D)`.
        y: `(m, D)`.
        kernel: `exp(-d^2 / 2 l^2)`, or the rational quadratic `1 / (1 + d^2 / 2 l^2)`; averaged over the lengths.
        scales: the lengths `l`, in units of `length`.
        length: by default the median distance in the pooled sample.

    References:
        | A Kernel Two-Sample Test (Gretton et al., 2012), Lemma 6
    """
    x, y = _pair(x, y, 3)
    return _quadratic("mmd^2", x, y, _mmd_kernel(torch.cat([x, y]), kernel, scales, length))


# Sliced Wasserstein: one sort of the pooled projections serves every way of splitting them.


class _Slices:
    def __init__(self, pooled: Tensor, order: float, directions: int, seed: int) -> None:
        if order < 1 or directions < 1:
            raise ValueError(f"expected order >= 1 and directions >= 1, got {order} and {directions}")
        count = directions if pooled.shape[1] > 1 else 1
        along = torch.randn(pooled.shape[1], count, generator=_generator(seed), dtype=torch.float64).to(pooled)
        self.order = order
        self.values, self.index = (pooled @ (along / along.norm(dim=0))).T.contiguous().sort(-1)  # (L, N)

    def powers(self, in_x: Tensor, in_y: Tensor) -> Tensor:
        """`W_p^p` along each direction, `(L,)`, exact: the quantile functions are step functions."""
        n, m = int(in_x.sum()), int(in_y.sum())
        x, y = (self.values[mask[self.index]].reshape(len(self.values), -1) for mask in (in_x, in_y))
        steps = torch.arange(1, n + 1, device=x.device) * m, torch.arange(1, m + 1, device=x.device) * n
        level = torch.unique(torch.cat(steps))  # where either function jumps, in units of 1 / (n m)
        width = torch.diff(level, prepend=level.new_zeros(1)).to(x) / (n * m)
        distances: Tensor = (x[:, (level - 1) // m] - y[:, (level - 1) // n]).abs()
        return distances.pow(self.order) @ width

    def distance(self, in_x: Tensor, in_y: Tensor) -> float:
        return float(self.powers(in_x, in_y).mean().item() ** (1 / self.order))


def sliced_wasserstein(
    x: Tensor, y: Tensor, *, order: float = 2, directions: int = 128, seed: int = 0, groups: int = 10
) -> Statistic:
    """`(mean over directions of W_p^p)^(1/p)` between the two empirical laws, for `p = order`.

    It is biased upwards by sampling, of order `n^(-1/2)` for equal laws: read it beside the value between two exact
    samples, or through `compare`. The standard error joins that of the directions to a delete-group jackknife over
    the points (a random partition into `groups`).

    References:
        | Sliced and Radon Wasserstein Barycenters of Measures (Bonneel et al., 2015)
    """
    if groups < 2:
        raise ValueError(f"groups: expected at least 2, got {groups}")
    x, y = _pair(x, y, groups)
    n, m = len(x), len(y)
    slices = _Slices(torch.cat([x, y]), order, directions, seed)
    in_x = torch.arange(n + m, device=x.device) < n
    powers = slices.powers(in_x, ~in_x)
    value = powers.mean().item() ** (1 / order)
    variance = 0.0
    if len(powers) > 1 and value > 0:  # the delta method for the root
        variance = (powers.std().item() / math.sqrt(len(powers)) / (order * value ** (order - 1))) ** 2
    generator = _generator(seed)
    group = torch.cat([torch.randperm(k, generator=generator) % groups for k in (n, m)]).to(x.device)
    for side in (in_x, ~in_x):
        left = [slices.distance(in_x & keep, ~in_x & keep) for keep in (~(side & (group == g)) for g in range(groups))]
        variance += (groups - 1) * float(np.var(left))
    return Statistic(f"sliced wasserstein-{order:g}", value, n, m, math.sqrt(variance))


# The classifier two-sample test.


def classifier_test(
    x: Tensor,
    y: Tensor,
    *,
    classifier: Literal["knn", "logistic"] = "knn",
    neighbours: int | None = None,
    seed: int = 0,
) -> Statistic:
    """The held-out accuracy of a classifier of x against y, 1/2 for equal laws, with the binomial p-value.

    Equal numbers of x and y are taken; half of each trains, half tests.

    Args:
        x: `(n, D)`, n at least 4.
        y: `(m, D)`, m at least 4.
        classifier: nearest neighbours, or logistic regression on the coordinates and their squares.
        neighbours: for `knn`, odd; by default about the square root of the number of training points.
        seed: of the split.

    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017), arXiv:1610.06545, Section 3
    """
    if classifier not in ("knn", "logistic"):
        raise ValueError(f"classifier: expected 'knn' or 'logistic', got {classifier!r}")
    n, m = len(x), len(y)
    x, y = _pair(x, y, 4)
    generator, size = _generator(seed), min(n, m)
    x, y = (v[torch.randperm(len(v), generator=generator)[:size].to(v.device)] for v in (x, y))
    half = size // 2
    train, test = torch.cat([x[:half], y[:half]]), torch.cat([x[half:], y[half:]])
    target = (torch.arange(2 * half, device=x.device) < half).to(x)
    mean, std = train.mean(0), train.std(0)
    train, test = ((v - mean) / torch.where(std > 0, std, 1.0) for v in (train, test))
    if classifier == "knn":
        k = neighbours or 2 * (math.isqrt(len(train)) // 2) + 1
        if k % 2 == 0 or not 1 <= k <= len(train):
            raise ValueError(f"neighbours: expected an odd number up to {len(train)}, got {k}")
        nearest = [torch.cdist(b, train).topk(k, largest=False).indices for _, b in _numbered_blocks(test, len(train))]
        says_x = target[torch.cat(nearest)].mean(-1) > 0.5
    else:
        says_x = _logistic(train, target, test)
    is_x = torch.arange(len(test), device=x.device) < size - half
    correct, count = int((says_x == is_x).sum()), len(test)
    accuracy = correct / count
    p_value = float(stats.binom.sf(correct - 1, count, 0.5))
    return Statistic("classifier accuracy", accuracy, n, m, math.sqrt(accuracy * (1 - accuracy) / count), p_value)


def _logistic(train: Tensor, target: Tensor, test: Tensor) -> Tensor:
    """Logistic regression on `(1, z, z^2)` with a unit ridge, fitted by L-BFGS."""

    def features(z: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(z[:, :1]), z, z * z - 1], 1)

    inputs = features(train)
    w = torch.zeros(inputs.shape[1], dtype=inputs.dtype, device=inputs.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([w], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(inputs @ w, target) + w @ w / (2 * len(inputs))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return features(test) @ w.detach() > 0


# Permutations: every statistic as a function of the splits, `order (P, N)`, of which the first n are x.


def _split_masks(order: Tensor, n: int) -> Tensor:
    return torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :n], True)


def _quadratic_splits(pooled: Tensor, order: Tensor, n: int, kernel: Kernel) -> Tensor:
    members = _split_masks(order, n).T.to(pooled)
    products = _products(pooled, torch.cat([members, torch.ones_like(members[:, :1])], 1), kernel)
    return _unbiased(*_quadratic_sums(members, products[:, :-1], products[:, -1:]), n, len(pooled) - n)


def _energy_splits(pooled: Tensor, order: Tensor, n: int, seed: int) -> Tensor:  # noqa: ARG001
    return _quadratic_splits(pooled, order, n, _negative_distance)


def _mmd_splits(pooled: Tensor, order: Tensor, n: int, seed: int, **settings: Any) -> Tensor:  # noqa: ANN401, ARG001
    return _quadratic_splits(pooled, order, n, _mmd_kernel(pooled, **settings))


def _sliced_splits(
    pooled: Tensor, order: Tensor, n: int, seed: int, *, directions: int = 128, **settings: float
) -> Tensor:
    slices = _Slices(pooled, settings.pop("order", 2), directions, seed)
    if settings:
        raise TypeError(f"sliced_wasserstein: expected the settings order and directions, got {sorted(settings)}")
    return torch.tensor([slices.distance(mask, ~mask) for mask in _split_masks(order, n)], dtype=torch.float64)


def _classifier_splits(pooled: Tensor, order: Tensor, n: int, seed: int, **settings: Any) -> Tensor:  # noqa: ANN401
    tests = (classifier_test(pooled[o[:n]], pooled[o[n:]], seed=seed, **settings) for o in order)
    return torch.tensor([t.value for t in tests], dtype=torch.float64)


_SPLITS: dict[str, Callable[..., Tensor]] = {
    "energy": _energy_splits,
    "mmd": _mmd_splits,
    "sliced_wasserstein": _sliced_splits,
    "classifier": _classifier_splits,
}


def compare(
    x: Tensor,
    y: Tensor,
    statistic: str | Callable[[Tensor, Tensor], float] = "energy",
    *,
    permutations: int = 199,
    seed: int = 0,
    **settings: Any,  # noqa: ANN401
) -> Statistic:
    """A permutation test of "x and y have one law": valid at every sample size, for exchangeable points.

    Args:
        x: `(n, D)`.
        y: `(m, D)`.
        statistic: `energy`, `mmd`, `sliced_wasserstein`, `classifier`, or a function of two samples that is large
            when they differ.
        permutations: P; the p-value is a multiple of `1 / (P + 1)`.
        seed: of the permutations, and of the directions or the split.
        settings: those of the named statistic (`kernel`, `directions`, ...).

    Returns:
        The statistic with `p_value = (1 + #{permuted >= observed}) / (P + 1)`.

    References:
        | Permutation P-values Should Never Be Zero (Phipson and Smyth, 2010), arXiv:1603.05766
    """
    if permutations < 1:
        raise ValueError(f"permutations: expected at least 1, got {permutations}")
    x, y = _pair(x, y, 3)
    n, pooled = len(x), torch.cat([x, y])
    generator = _generator(seed)
    shuffles = [torch.randperm(len(pooled), generator=generator) for _ in range(permutations)]
    order = torch.stack([torch.arange(len(pooled)), *shuffles]).to(x.device)
    if callable(statistic):
        name = getattr(statistic, "__name__", "statistic")
        results = [statistic(pooled[o[:n]], pooled[o[n:]], **settings) for o in order]
        values = torch.tensor(results, dtype=torch.float64)
    elif statistic in _SPLITS:
        name, values = statistic, _SPLITS[statistic](pooled, order, n, seed, **settings)
    else:
        raise ValueError(f"statistic: expected one of {', '.join(_SPLITS)} or a function, got {statistic!r}")
    tie = 1e-12 * values.abs().max().item()  # equal splits may differ by rounding
    at_least = int((values[1:] >= values[0] - tie).sum())
    return Statistic(name, values[0].item(), n, len(y), p_value=(1 + at_least) / (permutations + 1))


# Moments and intervals.


def _within(terms: Tensor, expected: Tensor | float, z: float, correction: float, rounding: float) -> Within:
    n = len(terms)
    target = torch.as_tensor(expected, dtype=torch.float64, device=terms.device)
    if target.ndim and target.shape != terms.shape[1:]:
        raise ValueError(f"expected: needs shape () or {tuple(terms.shape[1:])}, got {tuple(target.shape)}")
    deviation = (terms.mean(0) * correction - target).abs()
    worst = (deviation / (terms.std(0) / math.sqrt(n) + rounding)).max().item()
    return Within(worst <= z, worst, z)


def mean_within(x: Tensor, expected: Tensor | float, z: float = 5.0) -> Within:
    """Whether the mean of the sample `x (n, *)` is `expected` within z standard errors, entry by entry.

    At z = 5 a correct entry fails with a chance of 6e-7 (for a sample large enough to be normal on average).
    """
    terms = _sample(x)
    rounding = torch.finfo(x.dtype).eps * terms.abs().max().item()
    return _within(terms, expected, z, 1.0, rounding or 1e-300)


def covariance_within(x: Tensor, expected: Tensor, z: float = 5.0) -> Within:
    """Whether the covariance of `x (n, D)` is `expected (D, D)` within z standard errors, from the fourth moments."""
    if x.ndim != 2:
        raise ValueError(f"x: expected (n, D), got {tuple(x.shape)}")
    terms = _sample(x)
    rounding = torch.finfo(x.dtype).eps * terms.abs().max().item() ** 2
    centred = terms - terms.mean(0)
    return _within(centred[:, :, None] * centred[:, None], expected, z, len(x) / (len(x) - 1), rounding or 1e-300)


def _sample(x: Tensor) -> Tensor:
    if x.ndim < 1 or len(x) < 2 or not torch.isfinite(x).all():
        raise ValueError(f"x: expected a finite sample of at least 2 points, got shape {tuple(x.shape)}")
    return x.detach().to(torch.float64)


def _values(values: Sequence[float] | Tensor | NDArray[np.float64], least: int) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < least or not np.isfinite(array).all():
        raise ValueError(f"values: expected at least {least} finite numbers, got {array}")
    return array


def t_interval(values: Sequence[float] | Tensor, confidence: float = 0.95) -> Interval:
    """Student's interval for the mean of independent values, such as one result for each seed."""
    v = _values(values, 2)
    half = float(stats.t.ppf((1 + confidence) / 2, len(v) - 1)) * float(v.std(ddof=1)) / math.sqrt(len(v))
    mean = float(v.mean())
    return Interval(mean, mean - half, mean + half, confidence, len(v))


def bootstrap_interval(
    values: Sequence[float] | Tensor,
    statistic: Callable[..., Any] = np.mean,
    confidence: float = 0.95,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The bias-corrected and accelerated bootstrap interval of a statistic of independent values.

    References:
        | Better Bootstrap Confidence Intervals (Efron, 1987)
    """
    v = _values(values, 3)
    estimate = low = high = float(statistic(v))
    if np.ptp(v) > 0:
        options = {"confidence_level": confidence, "n_resamples": resamples, "rng": np.random.default_rng(seed)}
        low, high = map(float, stats.bootstrap((v,), statistic, **options).confidence_interval)
    return Interval(estimate, low, high, confidence, len(v))


def slope(steps: Sequence[float] | Tensor, errors: Sequence[float] | Tensor) -> Statistic:
    """The order of convergence p in `error = C steps^-p`: least squares in the logarithms, with its standard error."""
    s, e = _values(steps, 3), _values(errors, 3)
    if s.shape != e.shape or (s <= 0).any() or (e <= 0).any() or np.ptp(s) == 0:
        raise ValueError(f"expected as many positive errors as positive, differing steps, got {s} and {e}")
    fit = stats.linregress(np.log(s), np.log(e))
    return Statistic("order", -float(fit.slope), len(s), standard_error=float(fit.stderr))
