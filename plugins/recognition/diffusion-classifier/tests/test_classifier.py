"""Denoising errors as a classifier, against exact classes."""

import pytest
import torch
from suffuse_ddpm.linear import Linear
from suffuse_diffusion_classifier.claims import LikelihoodRatio, SharedNoise
from suffuse_diffusion_classifier.classify import Classify
from suffuse_diffusion_classifier.errors import errors, grid, subgrid
from suffuse_diffusion_classifier.likelihood import Likelihood
from suffuse_diffusion_classifier.match import Match
from suffuse_edm.process import Edm

from suffuse.contracts.condition import Condition
from suffuse.errors import InvalidInput, SpecError
from suffuse.parts import UnitWeight
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture

F64 = torch.float64
MIXTURE = GaussianMixture(
    weights=torch.full((5,), 0.2, dtype=F64),
    means=torch.randn(5, 8, generator=torch.Generator().manual_seed(0), dtype=F64),
    covariances=torch.full((5,), 0.25, dtype=F64),
    labels=torch.arange(5),
)
LABELS = {"label": torch.arange(5)}


def drawn(n=60, seed=0):
    return MIXTURE.sample_labelled(torch.Generator().manual_seed(seed), n)


def classified(task, process=None, n=60, **more):
    x, label = drawn(n)
    system = mixture_system(MIXTURE, process or Linear())
    inputs = {"data": x, "candidates": LABELS, "label": label, **more}
    return task.run(system, inputs, Rng.of(0, n))


def test_errors_integrate_to_the_likelihood_ratio():
    assert LikelihoodRatio().measure(0).effect > 0
    assert LikelihoodRatio().measure(0, sabotage=True).effect < 0


def test_times_are_the_published_ones():
    """T//N//2 + i (T//N), as indices from 0 of 1000 steps: 2, 6, 10, ... for 250."""
    assert (grid(250, 1000)[:3] * 1000 - 1).tolist() == [2, 6, 10]
    assert (grid(1, 1000) * 1000 - 1).tolist() == [500]
    assert subgrid(4, 16) == [2, 6, 10, 14]
    assert subgrid(16, 16) == list(range(16))


def test_identical_conditions_have_identical_errors_only_with_shared_noise():
    x, _ = drawn()
    system, rng = mixture_system(MIXTURE, Linear()), Rng.of(0, 60)
    cond = Condition(label=torch.ones(60, dtype=torch.long))
    settings = {"loss": "l2", "weighting": UnitWeight(), "mean": True}
    both, nfe = errors(system, x, [cond, cond], grid(4, 1000), range(4), rng, **settings)
    assert torch.equal(both[:, 0], both[:, 1])
    assert nfe == 8
    fresh, _ = errors(system, x, [cond], grid(4, 1000), range(4), rng.at("other"), **settings)
    assert (fresh[:, 0] - both[:, 0]).abs().min() > 0


def test_an_error_is_the_closed_form_s():
    """Of the exact eps at one time, for every p."""
    x, _ = drawn()
    process, i, n = Linear(), 3, 8
    t, rng = grid(n, 1000)[i], Rng.of(0, 60)
    alpha, sigma = process.scalars(t)
    eps = rng.at("noise", i).at("noise").at("").normal(x)
    x_t = alpha * x + sigma * eps
    found = -sigma * MIXTURE.conditioned(2).score(x_t, alpha, sigma)
    cond = [Condition(label=torch.full((60,), 2))]
    for loss, wanted in {"l2": (found - eps).square(), "l1": (found - eps).abs()}.items():
        settings = {"loss": loss, "weighting": UnitWeight()}
        system = mixture_system(MIXTURE, process)
        mean, _ = errors(system, x, cond, grid(n, 1000), [i], rng, mean=True, **settings)
        torch.testing.assert_close(mean[:, 0, 0], wanted.mean(1), rtol=1e-10, atol=1e-12)
        total, _ = errors(system, x, cond, grid(n, 1000), [i], rng, mean=False, **settings)
        torch.testing.assert_close(total[:, 0, 0], wanted.sum(1), rtol=1e-10, atol=1e-12)


def test_one_stage_is_the_plain_classifier_and_stages_reuse_errors():
    plain, staged = classified(Classify(stages=((16, 1),))), classified(Classify(stages=((4, 2), (16, 1))))
    assert plain.metrics["evaluations"] == 5 * 16
    assert staged.metrics["evaluations"] == 5 * 4 + 2 * 12
    evaluated = ~staged.states["errors"].isnan()
    assert torch.equal(staged.states["errors"][evaluated], plain.states["errors"][evaluated])
    assert torch.equal(plain.states["class"], plain.states["errors"].mean(2).argmin(1))
    assert (evaluated.sum(2) == 16).sum(1).eq(2).all()
    assert staged.states["posterior"].gt(0).sum(1).eq(2).all()


def test_the_posterior_is_a_softmax_of_differences():
    found = classified(Classify(stages=((8, 1),)))
    score = found.states["errors"].mean(2)
    wanted = 1 / (score[:, :, None] - score[:, None]).exp().sum(2)
    torch.testing.assert_close(found.states["posterior"], wanted)


@pytest.mark.parametrize("process", [Linear(), Edm(sigma_max=20.0)], ids=lambda p: type(p).__name__)
def test_likelihood_weights_give_the_model_s_own_posterior(process):
    """Up to Monte-Carlo error of the mean log-ratio, over points; the chain's steps are fine enough for its bias."""
    found = classified(Classify(stages=((250, 1),), weighting=Likelihood(), reduction="sum"), process=process, n=20)
    x, _ = drawn(20)
    exact = torch.stack([MIXTURE.conditioned(k).log_prob(x) for k in range(5)], 1)
    score = -found.states["errors"].mean(2)
    ratio, wanted = score - score[:, :1], exact - exact[:, :1]
    slope = float((ratio * wanted).sum() / wanted.square().sum())
    # the ratios' own scatter about the line: 80 points with errors that share their noise within a row
    residual = (ratio - wanted).reshape(20, -1)
    error = float((residual * wanted).sum(1).square().sum().sqrt() / wanted.square().sum())
    assert abs(slope - 1) < 5 * error + 0.01
    assert 0.9 < slope < 1.1


def test_several_candidates_may_stand_for_one_class():
    x, label = drawn()
    twice = {"label": torch.arange(5).repeat(2)}
    task = Classify(stages=((16, 1),))
    system = mixture_system(MIXTURE, Linear())
    inputs = {"data": x, "candidates": twice, "classes": torch.arange(5).repeat(2), "label": label}
    found = task.run(system, inputs, Rng.of(0, 60))
    assert torch.equal(found.states["class"], classified(task).states["class"])


def test_a_row_does_not_depend_on_its_neighbours():
    x, _ = drawn()
    task, system = Classify(stages=((2, 3), (8, 1))), mixture_system(MIXTURE, Linear())
    whole = task.run(system, {"data": x, "candidates": LABELS}, Rng.of(0, 60)).states
    few = task.run(system, {"data": x[7:9], "candidates": LABELS}, Rng.of(0, 60).index(slice(7, 9))).states
    torch.testing.assert_close(few["errors"], whole["errors"][7:9], equal_nan=True)
    assert torch.equal(few["class"], whole["class"][7:9])


def test_own_conditions_are_matched():
    x, label = drawn(40)
    inputs = {"data": x, "own": {"label": label}, "other": {"label": (label + 1) % 5}, "group": torch.arange(40) // 2}
    system = mixture_system(MIXTURE, Linear())
    found = Match(samples=64).run(system, inputs, Rng.of(0, 40))
    assert found.metrics["accuracy"] > 0.9
    right = (found.states["margin"] > 0).view(20, 2).all(1)
    assert found.metrics["text-score"] == float(right.double().mean())
    swapped = {**inputs, "own": inputs["other"], "other": inputs["own"]}
    margin = Match(samples=64).run(system, swapped, Rng.of(0, 40)).states["margin"]
    torch.testing.assert_close(margin, -found.states["margin"])


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"data": drawn(3)[0]}, "missing"),
        ({"data": drawn(3)[0], "candidates": LABELS, "shots": 3}, "shots"),
        ({"data": drawn(3)[0], "candidates": {"label": torch.arange(6)}}, "0 to 5"),
        ({"data": drawn(3)[0], "candidates": LABELS, "classes": torch.arange(4)}, "class of each"),
        ({"data": drawn(4)[0], "candidates": LABELS}, "3 streams for 4"),
        ({"data": drawn(3)[0], "candidates": {"label": torch.arange(2)}}, "keeps 3 of 2"),
    ],
)
def test_wrong_inputs_are_refused(inputs, words):
    with pytest.raises(InvalidInput, match=words):
        Classify(stages=((2, 3), (8, 1))).run(mixture_system(MIXTURE, Linear()), inputs, Rng.of(0, 3))


@pytest.mark.parametrize(
    "stages", [(), ((4, 2),), ((4, 2), (2, 1)), ((4, 2), (8, 2), (16, 1)), ((0, 1),), ((2000, 1),)]
)
def test_wrong_stages_are_refused(stages):
    with pytest.raises(SpecError, match="stages"):
        Classify(stages=stages)


def test_a_claim_holds_for_a_seed_and_fails_when_sabotaged():
    claim = SharedNoise()
    assert claim.measure(0).effect > claim.margin
    assert claim.measure(0, sabotage=True).effect < claim.margin
