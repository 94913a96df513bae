"""The bound's terms against the divergences they stand for, its gradients, and its measurement."""

import math

import pytest
import torch
from suffuse_md4.bound import diffusion, reconstruction, step
from suffuse_md4.claims import ChainLimit, Generalises, MaskedBeatsUniform, OneStep, Tight
from suffuse_md4.genmd4 import GenMd4, _log_chance
from suffuse_md4.nelbo import Antithetic, Nelbo, bits_per_token
from suffuse_md4.schedules import Cosine, Linear, Polynomial
from suffuse_md4.statewise import Statewise
from suffuse_md4.task import Bound

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.prediction import Logits
from suffuse.errors import InvalidInput, Unsupported
from suffuse.parts import UniformTimes
from suffuse.rng import Rng
from suffuse.testing.discrete import Joint, joint_system
from suffuse.testing.stand_ins import Shuffle

F64 = torch.float64


def statewise(w):
    made = Statewise(symbols=len(w))
    made.raw.data = torch.tensor(w, dtype=F64).expm1().log()
    return made


def setting(process, n=64, length=5):
    rng = Rng.of(0, n)
    k = process.symbols
    t = 0.05 + 0.9 * rng.at("t").uniform(torch.empty(n, dtype=F64))
    x0 = rng.at("x").integers(0, k, length)
    x_t = process.corrupt(x0, t, rng=rng).x_t
    value = rng.at("logits").normal(torch.empty(n, length, k, dtype=F64))
    return x0, x_t, t, Logits(value=value, x_t=x_t, t=t)


PROCESSES = [Linear(symbols=4), Polynomial(symbols=4), Cosine(symbols=4), statewise([0.5, 1.0, 1.5, 3.0])]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)


@named
def test_a_step_s_term_is_the_divergence_of_the_two_posteriors(process):
    x0, x_t, t, prediction = setting(process)
    truth = torch.nn.functional.one_hot(x0, 4).double()
    q, p = (process.posterior(x_t, v, t, 0.6 * t).logits for v in (truth, prediction.logits.softmax(-1)))
    divergence = torch.where(q > -torch.inf, q.exp() * (q - p), 0.0).flatten(1).sum(1)
    torch.testing.assert_close(step(process, prediction, x0, x_t, t, 0.6 * t), divergence, rtol=1e-9, atol=1e-12)


@named
def test_many_small_steps_have_the_weight_of_continuous_time(process):
    x0, x_t, t, prediction = setting(process)
    h = 1e-6
    near = step(process, prediction, x0, x_t, t, t - h) / h
    torch.testing.assert_close(near, diffusion(process, prediction, x0, x_t, t), rtol=1e-4, atol=1e-6)


def test_the_continuous_term_is_the_weighted_cross_entropy():
    process = Linear(symbols=4, eps=0.0)
    x0, x_t, t, prediction = setting(process)
    entropies = torch.nn.functional.cross_entropy(prediction.logits.movedim(-1, 1), x0, reduction="none")
    torch.testing.assert_close(diffusion(process, prediction, x0, x_t, t), (entropies * (x_t == 4)).sum(1) / t)


def test_the_reconstruction_terms_of_both_papers_codes():
    x0 = torch.tensor([[0, 1, 3]])
    got = reconstruction(Linear(symbols=4), x0, torch.zeros(1, dtype=F64))
    assert float(got) == pytest.approx(3 * 1e-4 * math.log(4))
    w, t1, eps = torch.tensor([0.5, 1.0, 1.5, 3.0], dtype=F64), torch.tensor(1e-3, dtype=F64), 1e-4
    logs = w * t1.log()
    expected = (-(1 - eps) * logs[x0].exp() * (logs[x0] - logs.logsumexp(0))).sum()
    got = reconstruction(PROCESSES[3], x0, t1[None])
    torch.testing.assert_close(got[0], expected, rtol=1e-6, atol=0)


def test_genmd4_s_gradient_of_the_exponents_is_that_of_the_exact_expectation():
    """Over all pairs of masks: the surrogate's mean gradient is the gradient of the mean."""
    x0, t = torch.tensor([[0, 2, 1]]), torch.tensor([0.4], dtype=F64)
    process = statewise([0.7, 1.0, 2.0]).double()
    masks = torch.cartesian_prod(*[torch.tensor([False, True])] * 3)
    x_t = torch.where(masks, 3, x0)
    value = torch.randn(8, 3, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    data, times = x0.expand(8, 3), t.expand(8)
    losses = diffusion(process, Logits(value=value, x_t=x_t, t=times), data, x_t, times)
    logs = _log_chance(process, x_t, data, times)
    (exact,) = torch.autograd.grad((logs.exp() * losses).sum(), process.raw, retain_graph=True)
    a, b = losses[:, None], losses[None, :]
    surrogate = (a + b) / 2 + (a - b).detach() * (logs[:, None] - logs[None, :]) / 2
    pairs = (logs[:, None] + logs[None, :]).exp().detach()
    (found,) = torch.autograd.grad((pairs * surrogate).sum(), process.raw)
    torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-12)


def exact_system(process):
    return joint_system(Joint.random(3, process.symbols, 0), process)


def test_the_objectives_estimate_the_entropy_for_the_exact_denoiser():
    """Without bias, within 5 standard errors; ``GenMd4`` leaves out the bound of shares below t1."""
    joint, n = Joint.random(3, 4, 0), 4096
    x = joint.sample(torch.Generator().manual_seed(1), n)
    batch = Batch(x=x, cond=Condition(), index=torch.arange(n))
    entropy = float(bits_per_token(torch.tensor(joint.entropy), x))
    cases = {Nelbo(times=UniformTimes()): PROCESSES[0], Nelbo(): PROCESSES[2], GenMd4(): PROCESSES[3]}
    for objective, process in cases.items():
        loss = objective.loss("model", batch, joint_system(joint, process), {}, Rng.of(2, n))
        error = float(loss.per_sample.detach().std()) / n**0.5
        assert abs(float(loss.logs["bits_per_token"]) - entropy) < 5 * error + 0.01, type(objective).__name__


def test_the_measured_bound_is_the_entropy_whatever_the_batches_and_its_rows_are_their_own():
    joint, n = Joint.random(3, 4, 0), 600
    x = joint.sample(torch.Generator().manual_seed(1), n)
    system = joint_system(joint, PROCESSES[1])
    whole = Bound(draws=16).run(system, {"data": x}, Rng.of(0, n))
    error = whole.metrics["standard_error"]
    assert abs(whole.metrics["bits_per_token"] - joint.entropy / 3 / math.log(2)) < 5 * error
    few = Bound(draws=16, batch=7).run(system, {"data": x[3:10]}, Rng.of(0, n).index(slice(3, 10)))
    torch.testing.assert_close(few.states["bits_per_token"], whole.states["bits_per_token"][3:10])
    one = Bound(draws=1, steps=1).run(system, {"data": x}, Rng.of(0, n))
    marginals = joint.posterior(torch.ones(1, 3, 4, dtype=F64))[0]
    alone = -marginals.log()[torch.arange(3), x].sum(1)  # but for a share of eps = 1e-4 of the tokens
    assert one.metrics["bits_per_token"] == pytest.approx(float(bits_per_token(alone, x).mean()), rel=2e-3)


def test_antithetic_times_cover_the_interval():
    t, weight = Antithetic().draw(Linear(symbols=2), 8, Rng.of(0, 8))
    assert ((t * 8).ceil().sort().values == torch.arange(1, 9)).all()
    assert weight.tolist() == [1.0] * 8


def test_what_is_refused():
    batch = Batch(x=torch.zeros(2, 3).long(), cond=Condition(), index=torch.arange(2))
    shuffled = joint_system(Joint.random(3, 4, 0), Shuffle(symbols=4))
    with pytest.raises(Unsupported, match="masked processes, got Shuffle"):
        Nelbo().loss("model", batch, shuffled, {}, Rng.of(0, 2))
    with pytest.raises(InvalidInput, match="needs data"):
        Nelbo().loss("model", None, exact_system(PROCESSES[0]), {}, Rng.of(0, 2))
    with pytest.raises(InvalidInput, match="values from 9 to 9"):
        Bound().run(exact_system(PROCESSES[0]), {"data": torch.full((2, 3), 9)}, Rng.of(0, 2))


@pytest.mark.parametrize("claim", [Tight, ChainLimit, OneStep, Generalises, MaskedBeatsUniform])
def test_claims_hold_and_their_sabotage_fails(claim):
    assert claim().measure(0).effect > 0
    assert claim().measure(0, sabotage=True).effect <= 0
