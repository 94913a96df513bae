"""The choice among candidates, against closed forms; what it goes with; what it refuses."""

import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.ancestral import Ancestral as GaussianAncestral
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpo.rewards import Quadratic
from suffuse_dpm_solver_pp.sde import Sde
from suffuse_edm.stochastic import Stochastic
from suffuse_fhs.sampler import FirstHitting
from suffuse_md4.sampler import Ancestral
from suffuse_md4.schedules import Linear
from suffuse_svdd.best_of import BestOf
from suffuse_svdd.claims import Chain as Known
from suffuse_svdd.claims import Choice, Elsewhere, Gaussian, Places, Tilted, every_state, selected
from suffuse_svdd.guidance import Svdd, unguided
from suffuse_svdd.values import PosteriorMean, predicted_data

from suffuse.contracts.condition import Condition
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, Unsupported
from suffuse.parts import Chain, Interval, Uniform
from suffuse.rng import Rng
from suffuse.testing.discrete import Joint, chi_square, joint_system
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Reverse, Shuffle

F64 = torch.float64
GRID = Uniform(start=0.98)
RING = GaussianMixture.ring(4, radius=1.5, std=0.3)
NEAR = PosteriorMean(reward=Quadratic(centre=(1.5, 0.0)))
TOKENS = PosteriorMean(reward=Places())
CHAIN = Known.of(0)


@attrs.frozen(kw_only=True)
class Flat(Places):
    """The same reward for all."""

    def value(self, data, cond):
        return torch.ones(len(data))


def plane(guidance=None, sampler=None, mixture=RING, process=None):
    sampler = sampler or Ddim(steps=12, eta=1.0, grid=GRID)
    return mixture_system(mixture, process or Cosine(), sampler=sampler, guidance=guidance)


def tokens(guidance=None, sampler=None, process=None):
    joint = Joint.random(3, 3, seed=1)
    return joint_system(joint, process or Linear(symbols=3), sampler=sampler or Ancestral(steps=4), guidance=guidance)


def reward(x):
    return Quadratic(centre=(1.5, 0.0)).value(x, Condition())


@pytest.mark.parametrize("claim", [Choice, Tilted, Gaussian])
def test_the_closed_forms_hold_and_fail_when_broken(claim):
    assert claim().measure(0).effect > 0
    assert claim().measure(0, sabotage=True).effect < 0


def test_the_law_of_the_chosen_is_that_of_listing_all_pairs():
    p, w = torch.tensor([0.5, 0.3, 0.2], dtype=F64), torch.tensor([0.0, 1.0, 3.0], dtype=F64).exp()
    found = selected(p[None], w.log(), 2)[0]
    pairs = p[:, None] * p * w[:, None] / (w[:, None] + w)
    torch.testing.assert_close(found, 2 * pairs.sum(1), rtol=0, atol=1e-12)
    torch.testing.assert_close(selected(p[None], w.log(), 1)[0], p, rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.5, float("inf")])
def test_one_candidate_is_the_plain_sampler_to_the_bit(alpha):
    for make, value in ((plane, NEAR), (tokens, TOKENS)):
        guided = make(Svdd(value=value, candidates=1, alpha=alpha))
        assert torch.equal(guided.sample(8, seed=1), make().sample(8, seed=1))
        info = next(info for _, info in guided.stream(8))
        assert info.transition is not None


def test_at_infinite_temperature_any_candidate_will_do():
    x = CHAIN.draw(10_000, 0, values=CHAIN.soft_values(0.5), alpha=float("inf"), candidates=5)
    assert chi_square(x, CHAIN.law(0.5, 1)).p_value > 1e-4


def test_a_constant_reward_leaves_the_law():
    flat = tuple(torch.full_like(v, 2.0) for v in CHAIN.soft_values(0.5))
    x = CHAIN.draw(10_000, 0, values=flat, alpha=0.5, candidates=5)
    assert chi_square(x, CHAIN.law(0.5, 1)).p_value > 1e-4
    best = Svdd(value=PosteriorMean(reward=Flat()))  # of equals the first, which is the step's own draw
    assert torch.equal(tokens(best).sample(8, seed=1), tokens().sample(8, seed=1))
    assert torch.equal(plane(best).sample(8, seed=1), plane().sample(8, seed=1))


def test_all_values_agree_where_the_state_determines_the_data():
    every = every_state(3)
    x = every[(every < 3).all(1)]
    s, rng = torch.tensor(0.3, dtype=F64), Rng.of(0, len(x))
    found, nfe = TOKENS.value(tokens(), x, s, Condition(), rng)
    exact = CHAIN.reward[(every < 3).all(1)]
    assert torch.equal(found.double(), exact)
    assert nfe == 1
    for values in CHAIN.soft_values(0.5):
        torch.testing.assert_close(values[(every < 3).all(1)], exact)


def test_predicted_tokens_are_the_seen_ones_and_the_likeliest_of_the_masked():
    system, s = tokens(), torch.tensor(0.5, dtype=F64)
    x = torch.tensor([[3, 0, 3], [2, 3, 1]])
    found, _ = predicted_data(system, x, s, Condition(), Rng.of(0, 2))
    likeliest = system.denoise(x, s, Condition()).logits.argmax(-1)
    assert torch.equal(found, torch.where(x == 3, likeliest, x))
    uniform = tokens(process=Shuffle(symbols=3), sampler=Reverse(steps=4))
    x = torch.tensor([[2, 0, 1], [2, 2, 1]])
    late = torch.tensor(0.95, dtype=F64)
    found, _ = predicted_data(uniform, x, late, Condition(), Rng.of(0, 2))
    assert torch.equal(found, uniform.denoise(x, late, Condition()).logits.argmax(-1))


def test_evaluations_are_counted():
    spent = []
    plane(Svdd(value=NEAR, candidates=7)).sample(2, seed=0, on_step=lambda _, info: spent.append(info.nfe))
    assert spent == [8] * 11 + [1]  # the last step draws nothing


@pytest.mark.parametrize(
    "sampler",
    [
        GaussianAncestral(steps=12, grid=GRID),
        Ddim(steps=12, eta=1.0, grid=GRID),
        Sde(steps=12, order=2, grid=GRID),
    ],
)
def test_gaussian_samplers_are_guided_also_those_with_a_memory(sampler):
    arms = (Svdd(value=NEAR), Svdd(value=Elsewhere(inner=NEAR)), None)
    guided, mixed, plain = (reward(plane(g, sampler).sample(300, seed=0, dtype=F64)) for g in arms)
    assert guided.mean() > plain.mean() + 1
    error = ((mixed.var() + plain.var()) / 300).sqrt()
    assert (mixed.mean() - plain.mean()).abs() < 5 * error


@pytest.mark.parametrize(
    ("sampler", "process"),
    [
        (Ancestral(steps=4), Linear(symbols=3)),
        (FirstHitting(steps=3), Linear(symbols=3)),
        (Reverse(steps=4), Shuffle(symbols=3)),
    ],
)
def test_discrete_samplers_are_guided(sampler, process):
    guided, plain = (
        Places().value(tokens(g, sampler, process).sample(400, seed=0), Condition()).mean()
        for g in (Svdd(value=TOKENS), None)
    )
    assert guided > plain + 0.4


def test_it_follows_other_guidance_and_conditions():
    label = torch.arange(60) % 4
    value = PosteriorMean(reward=Quadratic(centre=(0.0, 0.0)))
    both = plane(Chain(parts=(Cfg(scale=2.0), Svdd(value=value, candidates=4))))
    x = both.sample(cond={"label": label}, seed=0, dtype=F64)
    assert (RING.class_log_prob(x).argmax(1) == label).double().mean() > 0.9
    assert torch.equal(both.sample(cond={"label": label}, seed=0, dtype=F64, batch=25), x)
    plain = plane(Cfg(scale=2.0))
    assert torch.equal(
        attrs.evolve(both, guidance=unguided(both).guidance).sample(cond={"label": label}, seed=0, dtype=F64),
        plain.sample(cond={"label": label}, seed=0, dtype=F64),
    )
    nested = plane(Interval(guidance=Svdd(value=value), high=0.5))
    assert torch.equal(unguided(nested).sample(4, seed=0), plane().sample(4, seed=0))


def test_best_of_keeps_each_row_s_best_and_more_is_better():
    system, means = plane(), []
    for n in (1, 2, 8):
        result = BestOf(reward=NEAR.reward, samples=n).run(system, {}, Rng.of(0, 100))
        assert result.states["samples"].shape == (100, 2)
        torch.testing.assert_close(
            NEAR.reward.value(result.states["samples"], Condition()), result.states["reward"], rtol=0, atol=0
        )
        assert result.metrics["nfe"] == 12 * n
        means.append(result.states["reward"])
    assert (means[1] >= means[0]).all()  # the streams of two samples are among those of more
    assert (means[2] >= means[1]).all()
    labelled = BestOf(reward=NEAR.reward, samples=3).run(system, {"cond": {"label": torch.arange(8) % 4}}, Rng.of(0, 8))
    assert (RING.class_log_prob(labelled.states["samples"].double()).argmax(1) == torch.arange(8) % 4).all()


@attrs.frozen(kw_only=True)
class Untold(GaussianAncestral):
    """Does not tell its law."""

    def step(self, system, carry, t, s, rng):
        after, info = GaussianAncestral.step(self, system, carry, t, s, rng)
        return after, attrs.evolve(info, transition=None)


@attrs.frozen(kw_only=True)
class Moved(GaussianAncestral):
    """Corrects what it drew."""

    def step(self, system, carry, t, s, rng):
        after, info = GaussianAncestral.step(self, system, carry, t, s, rng)
        return attrs.evolve(after, x=after.x + 1), info


def test_what_cannot_be_is_refused():
    for sampler in (Ddim(steps=12), Stochastic(steps=8)):  # draws nothing; draws, but has no law of x_s
        with pytest.raises(IncompatibleComponents, match="stochastic"):
            plane(Svdd(value=NEAR), sampler)
    with pytest.raises(Unsupported, match="tell their law"):
        plane(Svdd(value=NEAR), Untold(steps=4, grid=GRID)).sample(2)
    with pytest.raises(InvalidInput, match="8 rows"):
        BestOf(reward=NEAR.reward).run(plane(), {"cond": {"label": torch.arange(3)}}, Rng.of(0, 8))
    for wrong in ({"candidates": 0}, {"alpha": -1.0}):
        with pytest.raises(SpecError, match=next(iter(wrong))):
            Svdd(value=NEAR, **wrong)
    with pytest.raises(Unsupported, match="another state"):
        plane(Svdd(value=NEAR), Moved(steps=4, grid=GRID)).sample(2)
