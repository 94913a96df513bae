import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddpm.linear import Linear
from suffuse_gdss.langevin import corrected
from suffuse_gdss.pairs import SPACE, pairs_of, pairs_system, truth
from suffuse_gdss.predictor_corrector import PredictorCorrector
from suffuse_gdss.process import GraphSystem
from suffuse_gdss.s4 import S4
from suffuse_gdss.scores import GraphScores
from suffuse_gdss.table import RECIPES
from suffuse_graph_sets.codec import Quantise
from suffuse_graph_sets.community import CommunitySmall
from suffuse_graph_sets.convert import to_networkx
from suffuse_graph_sets.quality import Quality
from suffuse_graph_sets.sets import size_law
from suffuse_graph_sets.space import Graphs, graph_noise

from suffuse.contracts.condition import Condition
from suffuse.contracts.sampler import Carry
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import seeded
from suffuse.testing.statistics import energy_distance
from suffuse.train.experiment import load_experiment

F64 = torch.float64


def one_step(sampler, t=0.6, s=0.5, n=3):
    system = pairs_system(sampler)
    x = graph_noise(SPACE.like(n, dtype=F64), Rng.of(0, n))
    t, s = torch.tensor(t, dtype=F64), torch.tensor(s, dtype=F64)
    score = system.plain(x, t, Condition()).score
    return system, x, t, s, score, system.step(system, Carry(x=x, cond=Condition()), t, s, Rng.of(1, n))[1]


def test_a_step_of_s4_is_its_three_parts_in_turn():
    """Mean and variance of the published update, one part after the other, from its response to each noise."""
    system, x, t, s, score, info = one_step(S4(snr=0.0))
    p, h, m = system.process, t - s, (t + s) / 2

    def parts(leaf, first, second):
        (early, wide), (late, narrow) = p.transition(t, m), p.transition(m, s)
        y = x[leaf] / early[leaf] + wide[leaf] * first
        y = y + h * p.diffusion(t)[leaf] ** 2 * score[leaf]
        return y / late[leaf] + narrow[leaf] * second

    for leaf in ("x", "adj"):
        mean = parts(leaf, 0.0, 0.0)
        variance = sum((parts(leaf, *z) - mean) ** 2 for z in ((1.0, 0.0), (0.0, 1.0)))
        assert torch.allclose(info.transition.mean[leaf], mean, atol=1e-12)
        std = torch.as_tensor(info.transition.std[leaf])
        assert torch.allclose(std**2 * torch.ones_like(variance), variance, atol=1e-12)


def test_the_predictors_are_the_published_ones():
    _, x, t, s, score, euler = one_step(PredictorCorrector(corrections=0))
    beta, h = 0.1 + 19.9 * t, t - s
    assert torch.allclose(euler.transition.mean["x"], x["x"] + (beta / 2 * x["x"] + beta * score["x"]) * h, atol=1e-10)
    assert torch.allclose(euler.transition.std["adj"], (beta * h).sqrt(), atol=1e-12)
    _, x, t, s, score, reverse = one_step(PredictorCorrector(corrections=0, predictor="reverse"))
    kept = (-(0.1 * (t - s) + 19.9 * (t**2 - s**2) / 2)).exp()  # 1 - beta_i of the chain
    expected = (2 - kept.sqrt()) * x["adj"] + (1 - kept) * score["adj"]
    assert torch.allclose(reverse.transition.mean["adj"], expected, atol=1e-10)
    assert torch.allclose(reverse.transition.std["x"] ** 2, 1 - kept, atol=1e-12)


def test_the_correction_is_the_published_one_with_norms_of_each_graph():
    system, x, *_, score, _ = one_step(S4())
    rng, alpha = Rng.of(4, 3), {"x": torch.tensor(0.9), "adj": torch.tensor(0.8), "mask": 1.0}
    moved, z = corrected(system, x, score, alpha, rng, snr=0.1, scale=0.7), graph_noise(x, rng)
    for leaf in ("x", "adj"):
        for i in range(3):
            e = 2 * alpha[leaf].double() ** 2 * (0.1 * z[leaf][i].norm() / score[leaf][i].norm()) ** 2
            expected = x[leaf][i] + e * score[leaf][i] + 0.7 * (2 * e).sqrt() * z[leaf][i]
            assert torch.allclose(moved[leaf][i], expected, atol=1e-6)
    assert torch.equal(moved["mask"], x["mask"])


def test_langevin_at_one_level_keeps_its_law():
    """At small steps and full noise the correction leaves the noisy data's law where it is, up to a share of snr^2."""
    system, n, t = pairs_system(S4(), mean=0.0), 400, torch.tensor(0.1, dtype=F64)
    k = system.process.kernel(t)
    rows = truth(36 * n, 0.0, 0.9, torch.Generator().manual_seed(0)).reshape(n, 36, 2)
    x = {k_: v.clone() for k_, v in SPACE.like(n, dtype=F64).items()}
    r, c = torch.tril_indices(9, 9, -1)
    x["x"] = rows[:, :, 0].reshape(n, 9, 4)
    x["adj"][:, r, c] = rows[:, :, 1]
    x["adj"] = x["adj"] + x["adj"].mT
    x = system.process.corrupt(x, t, rng=Rng.of(1, n)).x_t
    before = torch.cov(pairs_of(x).flatten(0, 1).T)
    for i in range(20):
        score = system.plain(x, t, Condition()).score
        x = corrected(system, x, score, {"x": 1.0, "adj": 1.0, "mask": 1.0}, Rng.of(2, n).at(i), snr=0.05, scale=1.0)
    after = torch.cov(pairs_of(x).flatten(0, 1).T)
    scale = float(k.alpha["x"] ** 2 * 0.01 + k.sigma["x"] ** 2)
    # 5 standard errors of both moments, and e/(2 var) = 2 snr^2 of the step's own bias
    assert float((after - before).abs().max()) < scale * (5 * 2 / (36 * n) ** 0.5 + 2 * 0.05**2 * 2)


def test_nfe_counts_every_evaluation():
    for sampler, cost in (
        (S4(steps=5), 5),
        (PredictorCorrector(steps=5), 10),
        (PredictorCorrector(steps=5, corrections=2), 15),
    ):
        told = [info.nfe for _, info in pairs_system(sampler).stream(2, dtype=F64)]
        assert sum(told) == cost


def test_samples_do_not_depend_on_the_batch_with_corrections():
    system = pairs_system(PredictorCorrector(steps=6))
    whole, alone = system.sample(4, dtype=F64), system.sample(1, dtype=F64)
    assert torch.allclose(whole["adj"][:1], alone["adj"], atol=1e-10)


@pytest.mark.parametrize("sampler", [S4(steps=100), PredictorCorrector(steps=50, predictor="reverse")])
def test_samples_of_the_toy_are_the_data(sampler):
    x = pairs_of(pairs_system(sampler).sample(30, dtype=F64)).flatten(0, 1)
    data = truth(1080, 0.5, 0.9, torch.Generator().manual_seed(0))
    assert energy_distance(x, data).value < 0.005  # marginal scores give 0.11
    assert ((x[:, 0] > 0) == (x[:, 1] > 0)).all()


def test_going_back_and_other_guidance_are_refused():
    system = pairs_system(S4())
    x = system.space.like(1, dtype=F64)
    with pytest.raises(Unsupported, match="lower s"):
        system.step(system, Carry(x=x, cond=Condition()), torch.tensor(0.2), torch.tensor(0.3), Rng.of(0, 1))
    with pytest.raises(IncompatibleComponents, match="conditional"):
        System(model=system.model, space=SPACE, process=system.process, sampler=S4(), guidance=Cfg())


def test_noise_to_networkx_and_the_quality_task():
    with seeded(0):
        net = GraphScores(width=8, depth=2, layers=2, attention=8, heads=2)
    system = System(
        model=net,
        space=Graphs(nodes=20, features=10),
        process=GraphSystem(x=Linear(beta_max=1.0), sizes=size_law(CommunitySmall())),
        sampler=S4(steps=3),
        codec=Quantise(),
    )
    drawn = to_networkx(system.sample(5, seed=1))
    assert all(1 <= len(g) <= 20 for g in drawn)
    metrics = Quality().run(system, {"n": 6}, Rng.of(0, 1)).metrics
    assert set(metrics) == {"degree", "clustering", "orbit", "average", "nfe"}
    assert metrics["nfe"] == 3
    with pytest.raises(InvalidInput, match="n must be"):
        Quality().run(system, {"n": 0}, Rng.of(0, 1))


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda f: f.stem)
def test_recipes_are_experiments_on_their_data(file):
    experiment = load_experiment(file)
    data, system = experiment.data, experiment.system
    assert (system.space.nodes, system.space.features) == (data.nodes, data.features)
    assert system.process.sizes == pytest.approx(size_law(data), abs=1e-4)
