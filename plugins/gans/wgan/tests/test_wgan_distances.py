"""Distances, coverage, the curve and the exact claims."""

import math

import pytest
import torch
from suffuse_wgan.claims import ExactDistances, ParallelLines
from suffuse_wgan.clip import Clip
from suffuse_wgan.curve import CriticCurve
from suffuse_wgan.distances import normal_wasserstein, parallel_lines, wasserstein
from suffuse_wgan.latents import Gaussian
from suffuse_wgan.mlp import MlpCritic, MlpGenerator
from suffuse_wgan.modes import coverage

from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import truth
from suffuse.testing.mixture import GaussianMixture


@pytest.mark.parametrize("claim", [ParallelLines, ExactDistances])
def test_exact_claims_hold_and_their_sabotage_fails(claim):
    for seed in range(5):
        assert claim().measure(seed).effect > 0
    assert claim().measure(0, sabotage=True).effect < 0


def test_samples_of_any_size_on_the_line():
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0], [5.0]])
    # Quantile functions: x is 0 below 1/2, y is 0 below 1/3, 1 below 2/3, else 5.
    assert wasserstein(x, y) == pytest.approx(1 / 6 + 4 / 3)
    assert wasserstein(y, y) == 0


def test_a_translation_moves_every_point():
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert wasserstein(x, x[torch.randperm(60)] + torch.tensor([2.0, 0.0, 1.0])) == pytest.approx(math.sqrt(5))


def test_closed_forms():
    assert normal_wasserstein(2.0, 1.0, -1.0, 1.0) == 3
    assert normal_wasserstein(0.0, 3.0, 0.0, 1.0) == pytest.approx(2 * math.sqrt(2 / math.pi))
    assert normal_wasserstein(-1.0, 2.0, 0.5, 1.0) == pytest.approx(normal_wasserstein(0.5, 1.0, -1.0, 2.0))
    assert set(parallel_lines(0.0).values()) == {0.0}
    assert parallel_lines(-0.5)["wasserstein"] == 0.5
    assert parallel_lines(-0.5)["jensen_shannon"] == math.log(2)


def test_coverage_of_the_mixture_by_itself():
    grid, n = GaussianMixture.grid(5, 1.0, 0.05), 5000
    found = coverage(truth(grid, n, 0), grid)
    assert found.modes == 25
    # Within three standard deviations lie 1 - exp(-9/2) of a plane Gaussian.
    share = 1 - math.exp(-4.5)
    assert abs(found.quality - share) < 5 * math.sqrt(share * (1 - share) / n)
    assert found.off < 5 * 25 * math.sqrt(0.04 * 0.96 / n) / 2
    one = coverage(truth(grid.conditioned(7), 500, 0), grid)
    assert (one.modes, one.off) == (1, pytest.approx(0.96))
    assert coverage(torch.full((10, 2), 0.5), grid).quality == 0


def test_bad_input():
    for x, y in ((torch.zeros(3, 2), torch.zeros(4, 2)), (torch.zeros(3), torch.zeros(3)), (torch.zeros(0, 1),) * 2):
        with pytest.raises(InvalidInput):
            wasserstein(x, y)
    with pytest.raises(InvalidInput, match="finite"):
        wasserstein(torch.full((2, 1), math.nan), torch.zeros(2, 1))
    with pytest.raises(InvalidInput, match=r"samples \(n, 2\)"):
        coverage(torch.zeros(3, 4), GaussianMixture.ring())


def _curve(**settings):
    model = MlpGenerator(latent=Gaussian(dim=2), shape=(2,), width=8, depth=1)
    system = System(model=model, space=Euclidean(shape=(2,)))
    critic = MlpCritic(shape=(2,), width=8, depth=1)
    task = CriticCurve(
        objective=Clip(critic=critic, warm=0, repeats=1, burst=1), steps=6, every=2, samples=20, batch=8, **settings
    )
    return task, system


def test_the_curve_measures_a_copy():
    task, system = _curve()
    before = [p.clone() for p in (*system.model.parameters(), *task.objective.parameters())]
    data = torch.randn(50, 2)
    found = task.run(system, {"data": data}, Rng.of(0, 1))
    assert [row["step"] for row in found.tables["curve"]] == [2, 4, 6]
    assert found.metrics["wasserstein"] == found.tables["curve"][-1]["wasserstein"] > 0
    assert -1 <= found.metrics["rank_correlation"] <= 1
    after = (*system.model.parameters(), *task.objective.parameters())
    assert all(torch.equal(p, q) for p, q in zip(before, after, strict=True))
    assert found.metrics == task.run(system, {"data": data}, Rng.of(0, 1)).metrics


def test_the_curve_refuses():
    task, system = _curve()
    with pytest.raises(InvalidInput, match="at least samples=20"):
        task.run(system, {"data": torch.zeros(5, 2)}, Rng.of(0, 1))
    with pytest.raises(InvalidInput, match="takes one tensor data"):
        task.run(system, {}, Rng.of(0, 1))
    wrong, system = _curve(quantity="critic/none")
    with pytest.raises(InvalidInput, match="critic/wasserstein"):
        wrong.run(system, {"data": torch.randn(50, 2)}, Rng.of(0, 1))
