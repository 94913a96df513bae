"""The target, the weights, and the objective with its stages."""

import copy

import attrs
import pytest
import torch
from suffuse_cfg.objective import Drop
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.parameterization import X0, Eps, V
from suffuse_mlp.backbone import Mlp
from suffuse_progressive_distillation.claims import GaussianStudent, Target
from suffuse_progressive_distillation.objective import Progressive
from suffuse_progressive_distillation.target import two_step_target
from suffuse_progressive_distillation.weighting import Snr, SnrPlusOne, TruncatedSnr

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import as_time
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Dataset, Example
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import LinearGenerator
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer

F64 = torch.float64
COSINE = Cosine(s=0.0)
MIXTURE = GaussianMixture.random(dim=2, components=3, seed=0)


def network(parameterization=None, process=COSINE, **settings):
    """Small, and not zero at the start."""
    with seeded(0):
        net = Mlp(width=16, depth=1, frequencies=4, **settings)
        torch.nn.init.normal_(net.last.weight, std=0.3)
    parameterization = parameterization or V(scale=1.0, shift=0.0)
    model = Preconditioned(backbone=net, parameterization=parameterization, trained=process)
    return System(model=model, space=Euclidean(shape=(2,)))


def batch(n=16, **cond):
    x = MIXTURE.sample(torch.Generator().manual_seed(0), n).float()
    return Batch(x=x, cond=Condition(cond), index=torch.arange(n))


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("claim", [Target(), GaussianStudent()], ids=lambda c: type(c).__name__)
def test_closed_forms(claim):
    assert claim.measure(0).effect > 0
    assert claim.measure(0, sabotage=True).effect < 0


def test_a_constant_teacher_is_its_own_target():
    """Check 2 of the method: data that are one point."""
    c, x = torch.tensor([[0.3, -2.0]], dtype=F64), torch.randn(5, 2, dtype=F64)

    def teacher(x_t, t, cond, *, s=None, rng=None):
        return Mean(value=c.expand_as(x_t), x_t=x_t, t=t, process=COSINE)

    for n in (1, 3, 100):
        i = torch.tensor([1, 1, n, n, max(1, n // 2)], dtype=F64)
        target = two_step_target(teacher, COSINE, x, i / n, (i - 0.5) / n, (i - 1) / n, Condition())
        torch.testing.assert_close(target, c.expand(5, 2), rtol=0, atol=1e-9)


def test_at_the_end_the_target_is_the_teacher_s_second_estimate():
    system, x = mixture_system(MIXTURE, COSINE), torch.randn(4, 2, dtype=F64)
    t, middle, s = as_time(0.25), as_time(0.125), as_time(0.0)
    target = two_step_target(system.denoise, COSINE, x, t, middle, s, Condition())
    p, (alpha, sigma) = system.denoise(x, t, Condition()), COSINE.scalars(middle)
    torch.testing.assert_close(target, system.denoise(alpha * p.x0 + sigma * p.eps, middle, Condition()).x0)


def test_the_weights_in_every_reading():
    """Check 4 of the method: each weight's loss is the error that the paper says it is."""
    t = torch.linspace(0.05, 0.95, 19, dtype=F64)
    alpha, sigma = COSINE.scalars(t)
    error = torch.rand(19, dtype=F64)  # of x0, squared
    in_eps, in_v = error * (alpha / sigma) ** 2, error / sigma**2
    expected = {Snr(): in_eps, TruncatedSnr(): torch.maximum(error, in_eps), SnrPlusOne(): in_v}
    for part, loss in expected.items():
        torch.testing.assert_close(part.weight(COSINE, t, (1.0, 0.0)) * error, loss)
        torch.testing.assert_close(part.weight(COSINE, t, (0.0, 1.0)) * in_eps, loss)
        torch.testing.assert_close(part.weight(COSINE, t, (-sigma, alpha)) * in_v, loss)
    # Without signal: SNR says nothing, the others do. And eps says nothing of x0 there.
    end = Cosine(s=0.0, log_snr_min=-60.0)
    values = [float(w.weight(end, as_time(1.0), (1.0, 0.0))) for w in (Snr(), TruncatedSnr(), SnrPlusOne())]
    assert values == pytest.approx([0, 1, 1], abs=1e-9)

    class Silent:
        def scalars(self, t):
            return torch.zeros_like(t), torch.ones_like(t)

    with pytest.raises(Unsupported, match="infinite"):
        TruncatedSnr().weight(Silent(), as_time(1.0), (0.0, 1.0))


@pytest.mark.parametrize("parameterization", [V(scale=1.0, shift=0.0), X0(scale=1.0), Eps(scale=1.0)])
def test_the_loss_as_published(parameterization):
    objective, system, rng, n = Progressive(first=4), network(parameterization), Rng.of(2, 16), 16
    state = objective.start(system, rng)
    with torch.no_grad():  # the student has moved
        for p in system.model.parameters():
            p.mul_(1.1)
    loss = objective.loss("model", batch(n), system, state, rng)
    i = rng.at("step").integers(1, 5).double()
    t = i / 4
    z_t = COSINE.corrupt(batch(n).x, t, rng=rng).x_t

    def x_of(model, z, u):
        return model(z, u, Condition(), process=COSINE).x0

    def step(z, u, w):
        (a, b), (c, d) = ([v[:, None].float() for v in COSINE.scalars(k)] for k in (u, w))
        x = x_of(objective.teacher, z, u)
        return c * x + d / b * (z - a * x)

    z_s = step(step(z_t, t, t - 1 / 8), t - 1 / 8, (t - 1 / 4).clamp_min(0))
    (a, b), (c, d) = (COSINE.scalars(k) for k in (t, (t - 1 / 4).clamp_min(0)))
    target = (z_s - (d / b)[:, None] * z_t) / (c - d / b * a)[:, None]
    weight = torch.maximum((a / b) ** 2, torch.ones_like(a))
    by_hand = weight * ((x_of(system.model, z_t, t) - target) ** 2).mean(1)
    torch.testing.assert_close(loss.per_sample.double(), by_hand, rtol=2e-3, atol=1e-5)  # float32, over alpha
    loss.per_sample.sum().backward()
    assert all(p.grad is None for p in objective.teacher.parameters())
    assert any((p.grad != 0).any() for p in system.model.parameters() if p.grad is not None)


def test_a_student_like_its_teacher_in_the_limit_has_no_loss():
    """On many steps two of the teacher's are one: the loss of the untrained copy falls with N."""
    system, rng = network(), Rng.of(0, 64)
    losses = []
    for first in (4, 64):
        objective = Progressive(first=first)
        state = objective.start(system, rng)
        losses.append(float(objective.loss("model", batch(64), system, state, rng).logs["mse"]))
    assert losses[1] < 0.1 * losses[0]


def test_the_stages():
    objective = Progressive(first=8, last=1, updates=10, last_updates=20)
    assert objective.total == 60
    found = {step: objective.stage(step) for step in (0, 5, 9, 10, 15, 20, 30, 40, 59, 60, 1000)}
    assert found == {
        0: (8, 1.0),
        5: (8, 0.5),
        9: (8, 0.1),
        10: (4, 1.0),
        15: (4, 0.5),
        20: (2, 1.0),
        30: (2, 0.5),
        40: (1, 1.0),
        59: (1, 0.05),
        60: (1, 0.0),
        1000: (1, 0.0),
    }
    scale = objective.players(network())["model"].learning_rate_scale
    assert [scale(s) for s in (0, 9, 10)] == [1.0, 0.1, 1.0]
    default = Progressive()
    assert (default.stage(0)[0], default.total) == (4096, 11 * 50_000 + 2 * 100_000)


def test_the_student_becomes_the_teacher():
    objective, system, rng = Progressive(first=2, updates=3, last_updates=3), network(), Rng.of(0, 4)
    state = objective.start(system, rng)
    assert state == {"steps": 2}
    first = weights(objective.teacher)
    assert torch.equal(first, weights(system.model))
    assert not objective.teacher.training
    assert not any(p.requires_grad for p in objective.teacher.parameters())
    with torch.no_grad():
        next(system.model.parameters()).add_(1.0)
    for step in (1, 2):
        assert objective.after(state, step, system, rng) == {"steps": 2}
        assert torch.equal(weights(objective.teacher), first)
    state = objective.after(state, 3, system, rng)
    assert state == {"steps": 1}
    assert torch.equal(weights(objective.teacher), weights(system.model))
    with torch.no_grad():
        next(system.model.parameters()).add_(1.0)
    assert objective.after(state, 6, system, rng) == {"steps": 1}  # the last stage promotes nobody
    assert not torch.equal(weights(objective.teacher), weights(system.model))


@attrs.frozen(kw_only=True)
class Points(Dataset):
    """Draws of the mixture, with a label."""

    def __len__(self):
        return 64

    def rows(self, index, rng):
        x = MIXTURE.sample(torch.Generator().manual_seed(0), 64).float()
        return Example(x=x[index], cond=Condition(label=index % 3))


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in-cfg-drop"])
def test_a_run_that_was_stopped_in_any_stage_goes_on_to_the_same_bits(tmp_path, wrapped):
    def run(folder, steps):
        objective = Progressive(first=4, updates=4, last_updates=4)
        whole = Drop(objective=objective, p_uncond=0.3) if wrapped else objective
        settings = Settings(steps=steps, batch=8, learning_rate=1e-2, ema=0.9)
        experiment = Experiment(system=network(classes=3), objective=whole, data=Points(), train=settings, seed=1)
        made = Trainer(experiment, folder)
        made.run()
        return made, objective

    straight, one = run(tmp_path / "straight", 10)
    for steps in (3, 4, 6, 9, 10):  # within stages and at their ends
        parts, other = run(tmp_path / "parts", steps)
    assert straight.progress == parts.progress == {"steps": 1}
    assert torch.equal(weights(straight.system.model), weights(parts.system.model))
    assert torch.equal(weights(one.teacher), weights(other.teacher))
    assert not torch.equal(weights(one.teacher), weights(straight.system.model))


def test_distilled_steps_are_better():
    """One stage from 4 steps to 2, on a teacher that has learned something."""
    from suffuse_ddpm.simple import Simple

    data = rows_of(GaussianMixture.ring(4, std=0.1).sample(torch.Generator().manual_seed(0), 2000).float())
    with seeded(0):
        net = Mlp(width=48, depth=1, frequencies=8)
    model = Preconditioned(backbone=net, parameterization=V(scale=1.0, shift=0.0), trained=COSINE)
    system = System(model=model, space=Euclidean(shape=(2,)))
    fit(system, Simple(), data, steps=120, batch=128, seed=0, learning_rate=3e-3)
    teacher = attrs.evolve(system, model=copy.deepcopy(model))
    fit(system, Progressive(first=2, last=2, last_updates=80), data, steps=80, batch=128, seed=1, learning_rate=2e-3)

    def sample(whole, steps):
        return attrs.evolve(whole, sampler=Ddim(steps=steps)).sample(500, seed=0)

    goal = sample(teacher, 4)
    student, plain = ((sample(w, 2) - goal).square().mean().sqrt() for w in (system, teacher))
    assert student < 0.5 * plain


def test_bad_input():
    for first, last in ((6, 2), (1, 2), (3, 1)):
        with pytest.raises(SpecError, match="times a power of 2"):
            Progressive(first=first, last=last)
    objective, system, rng = Progressive(first=2), network(), Rng.of(0, 4)
    state = objective.start(system, rng)
    with pytest.raises(InvalidInput, match="got no batch"):
        objective.loss("model", None, system, state, rng)
    generator = LinearGenerator()
    with pytest.raises(Unsupported, match="only a denoiser"):
        objective.start(System(model=generator, space=Euclidean(shape=(2,))), rng)
