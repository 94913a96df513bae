import math

import pytest
import torch
from suffuse_ddpm.linear import Linear
from suffuse_mdm.bound import Elbo, Importance, data_term, prior_term
from suffuse_mdm.claims import BoundGap, LearnedMixes
from suffuse_mdm.exact import ExactNoise
from suffuse_mdm.joint import Joint
from suffuse_mdm.presets import cld, vpsde
from suffuse_mdm.process import LearnedSde
from suffuse_mdm.state import Augmented, Lift
from suffuse_mlp.backbone import Mlp

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.process import as_time
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.parts import UniformTimes
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import mean_within

F64 = torch.float64
RING = GaussianMixture.ring(6, 1.2, 0.3)


def batch_of(x, k):
    return Batch(x=Lift(variables=k).encode(x) if k else x, cond=Condition(), index=torch.arange(len(x)))


def exact_system(process):
    return System(model=ExactNoise(mixture=RING), process=process, space=Augmented(shape=(2,), variables=process.K))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_gap_with_the_exact_score(seed):
    assert BoundGap().measure(seed).effect > 0


@pytest.mark.parametrize("process", [vpsde(), cld()], ids=["vpsde", "cld"])
def test_the_bound_is_the_entropy_of_a_mixture_where_the_prior_is_reached(process):
    """KL(p(u_1) || pi) is at most exp(-B(1)) |x|^2 / 2, less than 0.02 bits a dimension, for both."""
    n = 4096
    x = RING.sample(torch.Generator().manual_seed(0), n)
    entropy = -float(RING.log_prob(x).mean()) / (2 * math.log(2))
    bits = Elbo().loss("model", batch_of(x, process.K), exact_system(process), {}, Rng.of(0, n)).per_sample
    error = 5 * float(bits.std()) / n**0.5
    assert -error < float(bits.mean()) - entropy < error + 0.02


def test_one_variable_is_the_bound_of_the_scalar_sde():
    n = 512
    x = RING.sample(torch.Generator().manual_seed(0), n)
    one = Elbo().loss("model", batch_of(x, 1), exact_system(vpsde()), {}, Rng.of(0, n)).per_sample
    # The leaf is named x there and is without a name here, so the draws differ: the same noise by hand.
    scalar = Linear(beta_min=0.1, beta_max=10.0)
    system, objective = mixture_system(RING, scalar), Elbo()
    t, weight = objective.times.draw(scalar, n, Rng.of(0, n))
    made = vpsde().corrupt({"x": x}, t, rng=Rng.of(0, n))
    beta, (_, sigma) = 0.1 + 9.9 * t, scalar.scalars(t)
    error = (system.plain(made.x_t["x"], t, Condition()).eps - made.noise["x"]).square().sum(1)
    (a, s), (a0, s0) = scalar.scalars(as_time(1.0)), scalar.scalars(as_time(1e-3))
    prior = (a**2 * x.square().sum(1) + 2 * (s**2 - 1 - 2 * s.log())) / 2
    nats = prior + weight * beta / sigma**2 * error / 2 + math.log(2 * math.pi * math.e) + 2 * (s0 / a0).log()
    torch.testing.assert_close(one, nats / (2 * math.log(2)), rtol=1e-9, atol=1e-9)
    other = objective.loss("model", batch_of(x, 0), system, {}, Rng.of(1, n)).per_sample
    assert abs(float(other.mean() - one.mean())) < 5 * math.hypot(float(one.std()), float(other.std())) / n**0.5
    wide = x[:, None]
    whole = prior_term(scalar, wide), data_term(scalar, as_time(1e-3), wide)
    alike = prior_term(vpsde(), wide), data_term(vpsde(), as_time(1e-3), wide)
    torch.testing.assert_close(whole[1], alike[1], rtol=1e-10, atol=0)
    # Its own prior is N(0, sigma_1^2), not N(0, 1).
    torch.testing.assert_close(whole[0], (a / s) ** 2 * x.square().sum(1) / 2, rtol=1e-10, atol=0)
    assert (alike[0] - prior).abs().max() < 1e-10


def test_importance_sampling_leaves_the_expectation():
    """Of functions whose integrals are known, and of the bound."""
    part, n = Importance(), 100_000
    t, weight = part.draw(None, n, Rng.of(0, n))
    assert t.min() >= 1e-3
    assert t.max() <= 1
    assert mean_within((weight * t**2)[:, None], (1 - 1e-9) / 3)
    B = t * (0.1 + 4.95 * t)
    ends = as_time([1e-3, 1.0])
    low, high = torch.expm1(ends * (0.1 + 4.95 * ends)).log()
    ratio = (0.1 + 9.9 * t) / -torch.expm1(-B)
    torch.testing.assert_close(weight * ratio, (high - low).expand(n), rtol=1e-9, atol=0)  # what it is made for
    n = 8000
    x = RING.sample(torch.Generator().manual_seed(1), n)
    both = [
        Elbo(times=times).loss("model", batch_of(x, 2), exact_system(cld()), {}, Rng.of(2, n)).per_sample
        for times in (Importance(), UniformTimes())
    ]
    spread = [float(b.std()) for b in both]
    assert abs(float(both[0].mean() - both[1].mean())) < 5 * math.hypot(*spread) / n**0.5
    assert spread[0] < spread[1]


def test_learned_matrices_halve_the_gap():
    assert LearnedMixes().measure(0).effect > 0


def test_process_and_network_train_together():
    with seeded(0):
        process = LearnedSde(trace=2.0)
        model = Joint(backbone=Mlp(shape=(4,), width=32, depth=1, frequencies=8), scale=1.0, shift=0.0)
    system = System(model=model, process=process, space=Augmented(shape=(2,)), codec=Lift())
    assert set(system.modules()) == {"model", "process"}
    before = process.drift_and_noise()[0].detach().clone()
    x = Lift().encode(RING.sample(torch.Generator().manual_seed(0), 4096).float())
    logs = fit(system, Elbo(), rows_of(x), steps=40, batch=32, seed=0, learning_rate=5e-3)
    first, last = (sum(float(log["model/loss"]) for log in part) / 10 for part in (logs[:10], logs[-10:]))
    assert last < first
    assert (process.drift_and_noise()[0] - before).abs().max() > 1e-3


def test_what_is_refused():
    system = exact_system(cld())
    with pytest.raises(InvalidInput, match="learns from data"):
        Elbo().loss("model", None, system, {}, Rng.of(0, 1))
    model = ExactNoise(mixture=GaussianMixture.single([0.0, 0.0], torch.tensor([1.0, 2.0])))
    with pytest.raises(Unsupported, match="isotropic"):
        model({"x": torch.zeros(1, 2), "v": torch.zeros(1, 2)}, as_time(0.5), Condition(), process=cld())
    joint = Joint(backbone=Mlp(shape=(4,), width=8, depth=1, frequencies=4))
    with pytest.raises(InvalidInput, match="named variables"):
        joint(torch.zeros(1, 2), as_time(0.5), Condition(), process=cld())
    with pytest.raises(IncompatibleComponents, match="needs 'linear-gaussian'"):
        System(model=joint, space=Augmented(shape=(2,)))
    with pytest.raises(InvalidInput, match="one tensor"):
        Lift().encode({"x": torch.zeros(1)})
    with pytest.raises(InvalidInput, match="leaf x"):
        Lift().decode(torch.zeros(1))
