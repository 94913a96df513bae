import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.cosine import Cosine
from suffuse_digits.fill_in import FillIn
from suffuse_digits.masks import MASKS
from suffuse_digits.quality import Quality
from suffuse_digits.replace import Replace
from suffuse_digits.shipped import EDM
from suffuse_edm.deterministic import Heun
from suffuse_edm.process import Edm

from suffuse.contracts.condition import Condition
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput
from suffuse.parts import Chain
from suffuse.pipeline import Pipeline
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture

PRIOR = GaussianMixture.single([0.5, -0.5], torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64))


def exact(guidance, steps=50, n=2):
    return mixture_system(PRIOR, Cosine(), sampler=Ancestral(steps=steps, variance="small"), guidance=guidance)


def cond(n, value=1.5):
    known = torch.zeros(n, 2, dtype=torch.float64)
    known[:, 0] = value
    return {"known": known, "mask": torch.tensor([True, False]).expand(n, 2)}


def test_known_elements_come_back_and_resampling_nears_the_posterior():
    """x_2 given x_1 = v is N(-0.5 + 0.8 (v - 0.5), 0.36); plain replacement falls short of the mean."""
    n, v = 4000, 2.5
    mean, std = -0.5 + 0.8 * (v - 0.5), 0.6
    errors = []
    for r in (1, 10):
        x = exact(Replace(resamplings=r)).sample(cond=cond(n, v), seed=1, dtype=torch.float64)
        assert torch.equal(x[:, 0], torch.full((n,), v, dtype=torch.float64))
        errors.append(abs(float(x[:, 1].mean()) - mean))
    # Standard error of a mean: 0.6/sqrt(4000) = 0.0095.
    assert errors[0] > 5 * std / n**0.5
    assert errors[1] < errors[0] / 2


def test_with_nothing_known_it_is_the_plain_sampler():
    free = {**cond(20), "mask": torch.zeros(20, 2, dtype=torch.bool)}
    x = exact(Replace()).sample(cond=free, seed=3, dtype=torch.float64)
    assert torch.equal(x, exact(None).sample(20, seed=3, dtype=torch.float64))


def test_with_everything_known_nothing_is_left_to_sample():
    whole = {**cond(20), "mask": torch.ones(20, 2, dtype=torch.bool)}
    x = exact(Replace(resamplings=2), steps=3).sample(cond=whole, seed=3, dtype=torch.float64)
    assert torch.equal(x, whole["known"])


def test_rows_keep_their_measurement_however_the_batch_is_split():
    given = {**cond(9), "known": torch.arange(18, dtype=torch.float64).reshape(9, 2) / 9}
    system = exact(Replace(resamplings=2), steps=4)
    whole = system.sample(cond=given, seed=2, dtype=torch.float64)
    assert torch.equal(whole, system.sample(cond=given, seed=2, dtype=torch.float64, batch=4))


def test_a_step_costs_its_rounds_and_the_last_is_taken_once():
    evaluations = []
    system = exact(Replace(resamplings=5), steps=4)
    system.sample(cond=cond(2), dtype=torch.float64, on_step=lambda i, info: evaluations.append(info.nfe))
    assert evaluations == [5, 5, 5, 1]


def test_it_works_with_any_sampler_process_and_guidance():
    system = mixture_system(PRIOR, Edm(sigma_max=20.0), sampler=Heun(steps=6), guidance=Replace(resamplings=2))
    x = system.sample(cond=cond(5), dtype=torch.float64)
    assert torch.equal(x[:, 0], torch.full((5,), 1.5, dtype=torch.float64))
    assert x.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": None}, "no \\['mask'\\]"),
        ({"known": None}, "no \\['known'\\]"),
        ({"mask": torch.ones(3, 2)}, "must be bool"),
        ({"mask": torch.ones(3, 1, dtype=torch.bool)}, "the mask must have the shape"),
        ({"known": torch.full((3, 2), torch.nan, dtype=torch.float64)}, "NaN"),
        ({"known": torch.zeros(3, 4, dtype=torch.float64)}, "must have the shape"),
        ({"other": torch.zeros(3)}, "other"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {k: v for k, v in (cond(3) | change).items() if v is not None}
    with pytest.raises(InvalidInput, match=message):
        exact(Replace()).sample(cond=given, dtype=torch.float64)


@pytest.fixture(scope="module")
def edm():
    return Pipeline.load(EDM).system


def test_digits_are_filled_in(edm):
    """The classifier reads what was filled in as what was asked, and known pixels are those of the truth."""
    found = FillIn().run(edm, {"n": 20, "mask": "lower-half"}, Rng.of(0, 1))
    truth, mask, filled = (found.states[k] for k in ("truth", "mask", "filled"))
    assert torch.equal(mask, MASKS["lower-half"](Rng.of(0, 20)))
    torch.testing.assert_close(filled[mask], truth[mask], rtol=0, atol=1e-5)
    assert found.metrics["accuracy"] > 0.8
    assert found.metrics["rmse"] < found.metrics["rmse_of_mean"]
    sheet = found.pictures["fill-in"]
    assert sheet.ndim == 3
    assert (sheet.min() >= 0) & (sheet.max() <= 1)


def test_inputs_have_defaults_and_the_system_may_have_no_guidance(edm):
    bare = attrs.evolve(edm, guidance=None, sampler=Heun(steps=3))
    one, two = (FillIn().run(bare, {"labels": False}, Rng.of(7, n)) for n in (3, 3))
    assert torch.equal(one.states["filled"], two.states["filled"])
    assert len(one.states["filled"]) == 16


@pytest.mark.parametrize("inputs", [{"n": 0}, {"n": 356}, {"n": True}, {"mask": "top"}, {"labels": 1}, {"many": 3}])
def test_bad_inputs_are_refused(edm, inputs):
    with pytest.raises(InvalidInput):
        FillIn().run(edm, inputs, Rng.of(0, 1))


def test_a_system_of_something_else_is_refused():
    with pytest.raises(InvalidInput, match="system of digits"):
        FillIn().run(exact(None), {}, Rng.of(0, 1))


def test_quality(edm):
    quick = attrs.evolve(edm, sampler=Heun(steps=6), guidance=Chain(parts=(Cfg(scale=1.0),)))
    found = Quality().run(quick, {"n": 200}, Rng.of(0, 1))
    assert found.metrics["nfe"] == 11
    assert found.metrics["accuracy"] > 0.8
    assert 0 < found.metrics["frechet_of_train"] < found.metrics["frechet"] * 3
    assert found.pictures["gallery"].shape[0] == 1
    with pytest.raises(InvalidInput, match="from 2 to 1442"):
        Quality().run(quick, {"n": 1}, Rng.of(0, 1))


def test_the_condition_reaches_no_model(edm):
    """Entries that a guidance reads are neither checked nor seen by the model; others are."""
    label = torch.tensor([1])
    given = Condition(label=label, known=torch.zeros(1, 1, 8, 8), mask=torch.zeros(1, 1, 8, 8, dtype=torch.bool))
    with pytest.raises(InvalidInput, match="known"):
        edm.check(given)
    attrs.evolve(edm, guidance=Replace()).check(given)
    assert edm.space == Euclidean(shape=(1, 8, 8))
