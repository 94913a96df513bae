import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.parameterization import V
from suffuse_ddpo.rewards import Compressibility, Quadratic
from suffuse_digits.classifier import Classifier, shipped
from suffuse_draft.objectives import Draft, DraftLv
from suffuse_draft.rewards import ClassLikelihood
from suffuse_draft.sampling import sample
from suffuse_mlp.backbone import Mlp

from suffuse.contracts.condition import Condition
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput
from suffuse.parts import AtMean, Uniform
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import fit, seeded
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer

GRID = Uniform(start=0.98)
NONE = Condition()


def small_system(sampler=None, classes=0, dropout=0.0, **parts):
    with seeded(0):
        net = Mlp(shape=(2,), width=16, depth=1, classes=classes, dropout=dropout)
        torch.nn.init.normal_(net.last.weight, std=0.1)
    model = Preconditioned(backbone=net, parameterization=V(scale=1.0, shift=0.0), trained=Cosine())
    sampler = sampler or Ddim(steps=5, grid=GRID)
    return System(model=model.double(), space=Euclidean(shape=(2,)), sampler=sampler, **parts)


def gradient(system, objective, rng):
    loss = objective.loss("model", None, system, {}, rng).per_sample.sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(system.model.parameters()))])


@pytest.mark.parametrize("sampler", [Ddim(steps=5, grid=GRID), Ddim(steps=5, eta=1.0, grid=GRID), Ancestral(steps=5)])
def test_the_full_gradient_is_that_of_finite_differences(sampler):
    """Random samplers too: their noise does not depend on the weights."""
    system, rng, objective = small_system(sampler), Rng.of(0, 3), Draft(reward=Quadratic(centre=(1.0, 0.0)))
    weights, h = system.model.backbone.last.weight, 1e-5

    def value():
        with torch.no_grad():
            return float(objective.loss("model", None, system, {}, rng).per_sample.sum())

    loss = objective.loss("model", None, system, {}, rng).per_sample.sum()
    (slope,) = torch.autograd.grad(loss, weights)
    for i, j in ((0, 0), (1, 3), (0, 7)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weights[i, j] += sign * h
                ends.append(value())
                weights[i, j] -= sign * h
        assert float(slope[i, j]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-4, abs=1e-7)


def test_truncation_is_the_last_steps_from_a_constant():
    system, rng = small_system(), Rng.of(0, 4)
    truncated = gradient(system, Draft(reward=Quadratic(), last=2), rng)
    with torch.no_grad():
        states = [info.x_t for _, info in system.stream(4, dtype=torch.float64)]
    tail = system.sample(start=states[3], times=torch.stack(system.points[3:]), dtype=torch.float64)
    expected = torch.autograd.grad(tail.square().sum(), list(system.model.parameters()))
    torch.testing.assert_close(truncated, torch.cat([g.flatten() for g in expected]))
    full = gradient(system, Draft(reward=Quadratic()), rng)
    torch.testing.assert_close(gradient(system, Draft(reward=Quadratic(), last=5), rng), full)
    torch.testing.assert_close(gradient(system, Draft(reward=Quadratic(), last=50), rng), full)
    assert not torch.allclose(truncated, full)


@pytest.mark.parametrize("last", [None, 2])
def test_recomputing_changes_nothing(last):
    system, rng = small_system(Ddim(steps=5, eta=1.0, grid=GRID)), Rng.of(0, 4)
    kept, again = (gradient(system, Draft(reward=Quadratic(), last=last, recompute=r), rng) for r in (False, True))
    torch.testing.assert_close(again, kept, rtol=1e-12, atol=1e-12)


def test_samples_are_the_sampler_s():
    for sampler in (Ddim(steps=5, grid=GRID), Ddim(steps=4, grid=GRID, terminal=AtMean()), Ancestral(steps=5)):
        system = small_system(sampler)
        x = system.sample(6, seed=3, dtype=torch.float64)
        for last in (None, 1):
            assert torch.equal(sample(system, NONE, Rng.of(3, 6), last=last), x)


@pytest.mark.parametrize(
    ("objective", "count"),
    [
        (Draft(reward=Quadratic()), 5),
        (Draft(reward=Quadratic(), last=2), 2),
        (DraftLv(reward=Quadratic(), copies=0), 1),
        (DraftLv(reward=Quadratic(), copies=3), 4),
    ],
)
def test_the_differentiated_calls_are_counted(objective, count):
    system, calls = small_system(), []
    system.model.backbone.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    objective.loss("model", None, system, {}, Rng.of(0, 3))
    assert sum(calls) == count
    assert len(calls) == 5 + getattr(objective, "copies", 0)


def test_lv_without_copies_is_draft_1():
    system, rng = small_system(), Rng.of(0, 4)
    pair = Draft(reward=Quadratic(), last=1), DraftLv(reward=Quadratic(), copies=0)
    one, lv = (gradient(system, o, rng) for o in pair)
    assert torch.equal(one, lv)


def test_copies_are_noised_samples():
    """By hand: the mean over 1 + n ends."""
    system, rng = small_system(), Rng.of(0, 4)
    found = DraftLv(reward=Quadratic(), copies=2).loss("model", None, system, {}, rng).per_sample
    x0 = sample(system, NONE, rng, last=1).detach()
    t, s = system.points[-2:]
    total = x0.square().sum(1)
    for i in range(2):
        x_t = system.process.renoise(x0, s, t, rng=rng.at("renoise", i))
        end = system.sample(start=x_t, times=torch.stack([t, s]), dtype=torch.float64)
        total = total + end.square().sum(1)
    torch.testing.assert_close(found, total / 3)


def test_guidance_prompts_and_dropout():
    system = small_system(classes=3, dropout=0.5, guidance=Cfg(scale=2.0))
    system.model.train()
    objective, rng = Draft(reward=Quadratic(), classes=3, last=1), Rng.of(0, 5)
    first, again = (objective.loss("model", None, system, {}, rng).per_sample for _ in range(2))
    assert torch.equal(first, again)
    assert system.model.training


def test_the_reward_rises():
    system = small_system()
    system.model.float()
    reward = Quadratic(centre=(2.0, 0.0))
    before = float(reward.value(system.sample(500, seed=1).detach(), NONE).mean())
    fit(system, Draft(reward=reward), None, steps=30, batch=32, seed=0, learning_rate=1e-2)
    assert float(reward.value(system.sample(500, seed=1), NONE).mean()) > before / 2


def test_rewards_without_gradients_are_refused_when_composed():
    with pytest.raises(IncompatibleComponents, match="differentiable"):
        Experiment(system=small_system(), objective=Draft(reward=Compressibility()), train=Settings(steps=1))


def test_class_likelihood():
    x = 16 * torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = ClassLikelihood(encoder=shipped(), label=7).value(x, NONE)
    torch.testing.assert_close(found, shipped()(x).logits.log_softmax(1)[:, 7])
    with pytest.raises(InvalidInput, match="label=10 needs a classifier that knows it, got 10 classes"):
        ClassLikelihood(encoder=Classifier(trained=False), label=10).value(x, NONE)


@pytest.mark.parametrize("make", [Draft, DraftLv])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, make):
    def trainer(folder, steps):
        system = small_system(classes=2)
        system.model.float()
        train = Settings(steps=steps, batch=4, save_every=2, log_every=2)
        experiment = Experiment(system=system, objective=make(reward=Quadratic(), classes=2), train=train)
        return Trainer(experiment, tmp_path / folder)

    whole = trainer("whole", 5)
    whole.run()
    trainer("parts", 3).run()
    parts = trainer("parts", 5)
    parts.run()
    pairs = zip(whole.system.model.parameters(), parts.system.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert attrs.has(type(whole.objective))
