"""Metrics, photographs, and the two tasks."""

import math

import attrs
import pytest
import torch
from suffuse_operators.claims import Blind, Decompositions, ExactPosterior
from suffuse_operators.dense import Matrix
from suffuse_operators.digits import SHAPE, digits_mixture, digits_system, held_out
from suffuse_operators.masks import Inpaint
from suffuse_operators.metrics import consistency, psnr, ssim
from suffuse_operators.noise import GaussianNoise, PoissonNoise
from suffuse_operators.nonlinear import HighDynamicRange
from suffuse_operators.photos import Photos
from suffuse_operators.posterior import Posterior, coverage, distances, problem_of
from suffuse_operators.restore import Restore, operator_of

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.part import setting
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput
from suffuse.parts import Range
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, FirstOrder

F64 = torch.float64
REFERENCE = [0.9143650030498569, 0.9150266622287977, 0.9029871576748705]


def test_psnr_of_a_known_error():
    x = torch.zeros(2, 1, 4, 4)
    y = x + torch.tensor([0.1, 0.02]).view(2, 1, 1, 1)
    torch.testing.assert_close(psnr(x, y, 2.0), torch.tensor([400.0, 10_000.0], dtype=F64).log10() * 10)
    assert psnr(x, x, 1.0).tolist() == [120.0, 120.0]


def test_ssim_is_that_of_scikit_image():
    """``skimage.metrics.structural_similarity(x, y, data_range=2, channel_axis=0)``, version 0.26.0, on these pairs."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(3, 2, 9, 12, generator=g, dtype=F64) * 2
    y = 0.7 * x + 0.3 * torch.rand(3, 2, 9, 12, generator=g, dtype=F64)
    found = ssim(x, y, 2.0)
    torch.testing.assert_close(found, torch.tensor(REFERENCE, dtype=F64), rtol=0, atol=1e-12)
    torch.testing.assert_close(ssim(x, x, 2.0), torch.ones(3, dtype=F64))


def test_the_truth_is_consistent_to_one_standard_deviation():
    x = torch.rand(4, 1, 40, 40, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    for noise in (GaussianNoise(std=0.2), PoissonNoise()):
        operator = Inpaint(keep=0.6, noise=noise)
        found = consistency(operator, operator.measure(x, Rng.of(0, 4)), x)
        # The standard error of a root mean square of 960 is 1/sqrt(1920); five of them.
        assert ((found - 1).abs() < 5 / math.sqrt(1920)).all(), found
    silent = Inpaint(keep=0.6, noise=GaussianNoise(std=0.0))
    torch.testing.assert_close(consistency(silent, silent.A(x + 0.5), x), torch.full((4,), 0.5))


def test_photographs():
    train, test = Photos(), Photos(split="test")
    assert (len(train), len(test), len(Photos(split="all"))) == (416, 104, 520)
    x = train.rows(torch.tensor([0, 300]), Rng.of(0, 2)).x
    assert x.shape == (2, 3, 32, 32)
    assert 0 <= x.min() < x.max() <= 1
    corner = Photos(size=64, split="all").rows(torch.tensor([0]), Rng.of(0, 1)).x[0, :, :32, :32]
    assert torch.equal(corner, Photos(split="all").rows(torch.tensor([0]), Rng.of(0, 1)).x[0])
    with pytest.raises(InvalidInput, match="0 to 415, got indices from -1 to 4"):
        train.rows(torch.tensor([-1, 4]), Rng.of(0, 2))


@attrs.frozen(kw_only=True)
class Cheat(Guidance):
    """Returns the pseudo-inverse at the end."""

    reads = frozenset({"y"})

    operator: object = setting(doc="what measured")

    def step(self, inner, system):
        def step(system, carry, t, s, rng):
            now, info = inner(system, carry, t, s, rng)
            return attrs.evolve(now, x=self.operator.A_dagger(carry.cond["y"])), info

        return step


def test_restore_measures_samples_and_compares():
    operator = Inpaint(keep=0.5, noise=GaussianNoise(std=0.0))
    system = digits_system(Circle(), sampler=FirstOrder(steps=3), guidance=Cheat(operator=operator))
    photos = attrs.evolve(system, space=Euclidean(shape=(3, 32, 32)), codec=Range(low=0.0, high=1.0))
    assert operator_of(system) is operator
    digits = Small()
    result = Restore(dataset=digits).run(system, {"n": 4}, Rng.of(0, 1))
    assert result.metrics["psnr"] == pytest.approx(result.metrics["psnr_of_pseudo_inverse"])
    assert result.metrics["consistency"] == 0
    assert result.metrics["nfe"] == 3
    assert result.pictures["restore"].shape == (1, 3 * 48, 4 * 48)
    again = Restore(dataset=digits).run(system, {"n": 4}, Rng.of(0, 5))
    assert result.states["y"].shape == again.states["y"].shape == (4, 1, 8, 8)
    with pytest.raises(InvalidInput, match="n and labels, got \\['m'\\]"):
        Restore().run(photos, {"m": 1}, Rng.of(0, 1))
    with pytest.raises(InvalidInput, match=r"one measurement operator.* got none"):
        Restore().run(attrs.evolve(photos, guidance=None), {}, Rng.of(0, 1))
    with pytest.raises(InvalidInput, match="Photos has no labels"):
        Restore().run(photos, {"labels": True}, Rng.of(0, 1))
    with pytest.raises(InvalidInput, match="an integer from 1 to 104, got 0"):
        Restore().run(photos, {"n": 0}, Rng.of(0, 1))


class Small(Photos):
    """Digits of the test bed."""

    def __len__(self):
        return 20

    def rows(self, index, rng):
        from suffuse.contracts.task import Example

        return Example(x=held_out(20)[index], cond=Condition())


def test_exact_draws_reach_the_floor_and_are_covered():
    mixture = GaussianMixture.random(dim=3, components=3, seed=0)
    operator = Matrix(rows=((1.0, 0.0, 1.0),), noise=GaussianNoise(std=0.2))
    problem = problem_of(mixture, operator, (3,))
    truth = mixture.sample(torch.Generator().manual_seed(1), 400)
    y = operator.measure(truth, Rng.of(0, 400))
    law = problem.posterior(y)
    samples = law.sample(torch.Generator().manual_seed(2), 39)  # 40 ranks: 20 and 36 of them are inside
    for level in (0.5, 0.9):
        # 400 measurements, whose three coordinates may depend on each other.
        assert abs(coverage(samples, truth, level) - level) < 5 * math.sqrt(level * (1 - level) / 400)
    narrow = samples.mean(1, keepdim=True) + 0.5 * (samples - samples.mean(1, keepdim=True))
    assert coverage(narrow, truth, 0.9) < 0.75
    # Exact draws are as far from others as the floor: eight times afresh, within five standard errors of their mean.
    gaps = []
    for seed in range(8):
        few = law.sample(torch.Generator().manual_seed(30 + seed), 48)[:40]
        found = distances(few, problem.posterior(y[:40]), seed)
        gaps.append([found[name] - found[f"{name}_floor"] for name in ("energy", "sliced")])
    gap = torch.tensor(gaps, dtype=torch.float64)
    assert bool((gap.mean(0).abs() <= 5 * gap.std(0) / math.sqrt(8)).all())
    assert distances(few + 0.5, problem.posterior(y[:40]), 4)["energy"] > 0.1


def test_posteriors_that_are_not_known_are_refused():
    mixture = GaussianMixture.random(dim=3, components=3, seed=0)
    system = mixture_system(mixture, Circle(), sampler=FirstOrder(steps=2))
    for operator in (Inpaint(noise=PoissonNoise()), HighDynamicRange()):
        blind = attrs.evolve(system, guidance=Blind(operator=operator))
        with pytest.raises(InvalidInput, match="linear operators with Gaussian noise, got"):
            Posterior().run(blind, {}, Rng.of(0, 1))
    with pytest.raises(InvalidInput, match="n of at least 3"):
        Posterior().run(system, {"n": 2}, Rng.of(0, 1))


def test_the_test_bed_denoises_digits_exactly():
    """At little noise the exact mean is nearer to the truth than the state; the posterior's sum of weights is whole."""
    mixture = digits_mixture()
    assert mixture.means.shape == (15, 64)
    system = digits_system(Circle())
    x, t = held_out(8), torch.tensor(0.3, dtype=F64)
    noisy = system.process.corrupt(x, t, rng=Rng.of(0, 8)).x_t
    found = system.denoise(noisy, t, Condition()).x0
    assert found.shape == (8, *SHAPE)
    assert (found - x).square().mean() < 0.5 * (noisy - x).square().mean()


@pytest.mark.parametrize("claim", [Decompositions(), ExactPosterior()])
def test_claims_hold_and_fail_when_sabotaged(claim):
    assert claim.measure(0).effect > 0
    assert claim.measure(0, sabotage=True).effect <= 0
