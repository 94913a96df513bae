"""Posterior samples against the exact posterior, on mixtures where it is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.operator import LinearOperator
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.inverse import LinearInverse
from suffuse.testing.mixture import ConditionalMixture, GaussianMixture
from suffuse.testing.statistics import energy_distance, sliced_wasserstein
from suffuse_operators.dense import matrix_of
from suffuse_operators.noise import GaussianNoise
from suffuse_operators.restore import operator_of

__all__ = ["Posterior", "coverage", "distances", "problem_of"]


def problem_of(prior: GaussianMixture, operator: LinearOperator, shape: tuple[int, ...]) -> LinearInverse:
    """The inverse problem in closed form, of states of this shape; ``InvalidInput`` unless the noise is Gaussian.

    Where a measurement is blank, A is zero and y is independent of the state, whatever noise is assumed there.
    """
    if not isinstance(operator, LinearOperator) or not isinstance(operator.noise, GaussianNoise):
        names = f"{type(operator).__name__} with {type(operator.noise).__name__}"
        raise InvalidInput(f"the exact posterior is known for linear operators with Gaussian noise, got {names}")
    return LinearInverse(prior, matrix_of(operator, shape), torch.tensor(operator.noise.std**2))


def distances(samples: Tensor, law: ConditionalMixture, seed: int) -> dict[str, float]:
    """How far samples ``(K, n, D)`` are from n exact draws of each of the K laws, on average over the laws.

    ``energy`` (unbiased: 0 on average for exact samples) and ``sliced`` (Wasserstein-2), each beside its ``floor``,
    that of a second set of exact draws.
    """
    n = samples.shape[1]
    exact = law.sample(torch.Generator().manual_seed(seed), 2 * n)
    pairs = {"": samples.double(), "_floor": exact[:, n:]}
    found = {}
    for name, mine in pairs.items():
        rows = list(zip(mine, exact[:, :n], strict=True))
        found[f"energy{name}"] = sum(energy_distance(a, b).value for a, b in rows) / len(rows)
        found[f"sliced{name}"] = sum(_sliced(a, b, seed) for a, b in rows) / len(rows)
    return found


def _sliced(a: Tensor, b: Tensor, seed: int) -> float:
    return sliced_wasserstein(a, b, directions=32, groups=2, seed=seed).value


def coverage(samples: Tensor, truth: Tensor, level: float) -> float:
    """How often the central credible interval of samples ``(K, n, D)`` holds the truth ``(K, D)``: ideally ``level``.

    By ranks: among n + 1 exchangeable numbers each rank is equally likely, so exact posterior samples of truths drawn
    from the prior are covered at the level, to within ``1/(n + 1)``.
    """
    n = samples.shape[1]
    rank = (samples < truth[:, None]).double().sum(1)
    centred = (rank + 0.5) / (n + 1) - 0.5
    return float((centred.abs() <= level / 2).double().mean())


@attrs.frozen(kw_only=True)
class Posterior(Task):
    """Judges the samples that a system gives for a measurement, against the exact posterior of its mixture.

    The system's model is an exact denoiser of a Gaussian mixture (``suffuse.testing``), and its guidance holds a linear
    operator with Gaussian noise. Truths are drawn from the mixture and measured. Inputs, optional: ``n``, samples a
    measurement (64), and ``measurements`` (32).

    Metrics: ``energy``, ``sliced`` and their floors (see ``distances``), in the units of the states, ``coverage50`` and
    ``coverage90``, and ``rmse_of_mean``: the root mean square error of the samples' mean against the posterior mean,
    beside ``rmse_of_mean_floor``, that of as many exact draws.
    """

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, and for a system without an exact posterior."""
        given = {"n": 64, "measurements": 32} | dict(inputs)
        if unknown := set(given) - {"n", "measurements"}:
            raise InvalidInput(f"operators/posterior takes n and measurements, got {sorted(unknown)}")
        n, k = given["n"], given["measurements"]
        if not all(type(v) is int and v >= least for v, least in ((n, 3), (k, 1))):
            raise InvalidInput(
                f"expected n of at least 3 and measurements of at least 1, got n={n!r}, measurements={k!r}"
            )
        prior = getattr(system.model, "mixture", None)
        if not isinstance(prior, GaussianMixture):
            raise InvalidInput(f"expected a system with an exact denoiser, got {type(system.model).__name__}")
        operator, seed = operator_of(system), rng.seed()
        shape = tuple(cast(Tensor, system.space.like(1)).shape[1:])
        problem = problem_of(prior, cast(LinearOperator, operator), shape)
        truth = prior.sample(torch.Generator().manual_seed(seed), k)
        y = operator.measure(truth.float().reshape(k, *shape), rng.pool().repeat(k).at("measure"))
        x = cast(Tensor, system.sample(cond={"y": y.repeat_interleave(n, 0)}, seed=seed)).detach()
        samples = x.reshape(k, n, -1).double()
        law = problem.posterior(y.flatten(1).double())
        mean, covariance = law.moments()
        floor = math.sqrt(float(covariance.diagonal(dim1=1, dim2=2).mean()) / n)
        return Result(
            metrics={
                **distances(samples, law, seed),
                "coverage50": coverage(samples, truth, 0.5),
                "coverage90": coverage(samples, truth, 0.9),
                "rmse_of_mean": float((samples.mean(1) - mean).square().mean().sqrt()),
                "rmse_of_mean_floor": floor,
            },
            states={"truth": truth, "y": y, "samples": samples},
        )
