import math

import pytest
import torch
from suffuse_ddpm.linear import Linear
from suffuse_edm.deterministic import Heun
from suffuse_gdss.loss import PartialScores
from suffuse_gdss.process import GraphSystem
from suffuse_gdss.scores import GraphScores
from suffuse_gdss.ve import Ve
from suffuse_graph_sets.space import Graphs, graph_noise

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import seeded

SPACE = Graphs(nodes=5, features=2)
SMALL = {"features": 2, "width": 8, "depth": 2, "layers": 2, "attention": 8, "heads": 2}
F64 = torch.float64


def graphs(n, sizes=None, seed=0):
    state = dict(SPACE.like(n, dtype=F64))
    if sizes is not None:
        state["mask"] = (torch.arange(5) < torch.tensor(sizes)[:, None]).double()
    return graph_noise(state, Rng.of(seed, n))


def small(**settings):
    with seeded(0):
        return GraphScores(**SMALL, **settings).double()


def test_each_leaf_has_its_own_schedule():
    process = GraphSystem(x=Linear(beta_max=20.0), adj=Ve(sigma_min=0.2, sigma_max=1.0))
    t = torch.tensor([0.2, 0.9], dtype=F64)
    k = process.kernel(t)
    assert torch.allclose(k.alpha["x"], (-(0.1 * t + 19.9 * t**2 / 2) / 2).exp(), atol=1e-12)
    assert torch.allclose(k.sigma["adj"], 0.2 * 5.0**t, atol=1e-12)
    assert torch.allclose(process.diffusion(t)["adj"] ** 2, k.sigma["adj"] ** 2 * 2 * math.log(5), atol=1e-9)
    alpha, sigma = process.transition(t[1], t[0])
    assert float(alpha["adj"]) == 1.0
    assert torch.allclose(sigma["adj"] ** 2, k.sigma["adj"][1] ** 2 - k.sigma["adj"][0] ** 2, atol=1e-12)


def test_the_mask_stays_and_absent_nodes_stay_empty():
    process, x0 = GraphSystem(), graphs(3, [5, 3, 1])
    x_t = process.corrupt(x0, torch.tensor([0.3, 0.9, 1.0]), rng=Rng.of(1, 3)).x_t
    assert torch.equal(x_t["mask"], x0["mask"])
    SPACE.check(x_t)


def test_the_prior_draws_sizes_and_takes_given_ones():
    process, like = GraphSystem(sizes=(0.0, 0.0, 0.25, 0.0, 0.75)), SPACE.like(4000, dtype=F64)
    counts = process.prior(like).sample(Rng.of(0, 4000))["mask"].sum(1)
    assert set(counts.tolist()) == {3.0, 5.0}
    assert abs(float((counts == 3).double().mean()) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 4000)
    given = torch.tensor([2, 4])
    state = process.prior(SPACE.like(2), Condition(nodes=given)).sample(Rng.of(0, 2))
    assert torch.equal(state["mask"].sum(1).long(), given)
    with pytest.raises(InvalidInput, match="1 to 5 nodes"):
        process.prior(SPACE.like(2), Condition(nodes=torch.tensor([2, 6])))


def test_the_priors_density_counts_sizes_and_standard_normals():
    law = GraphSystem(sizes=(0.5, 0.5)).prior(SPACE.like(2, dtype=F64))
    x = law.sample(Rng.of(3, 2))
    logs = torch.distributions.Normal(0.0, 1.0).log_prob
    for i in range(2):
        n = int(x["mask"][i].sum())
        pairs = x["adj"][i, *torch.tril_indices(n, n, -1)]
        expected = math.log(0.5) + logs(x["x"][i, :n]).sum() + logs(pairs).sum()
        assert torch.allclose(law.log_prob(x)[i], expected, atol=1e-10)


def test_there_is_no_score_at_zero_noise():
    with pytest.raises(Unsupported, match="zero noise"):
        GraphSystem().score(graphs(2), torch.tensor(0.0))


def test_networks_give_eps_or_the_score():
    process, x, t = GraphSystem(adj=Ve()), graphs(2), torch.tensor([0.4, 0.7], dtype=F64)
    eps, score = (small(adj_output=kind)(x, t, Condition(), process=process) for kind in ("eps", "score"))
    sigma = process.kernel(t).sigma["adj"][:, None, None]
    assert torch.allclose(score.eps["adj"], -sigma * eps.eps["adj"], atol=1e-12)
    assert torch.allclose(score.score["adj"], eps.eps["adj"], atol=1e-10)
    assert torch.allclose(score.eps["x"], eps.eps["x"])


def test_padding_does_not_change_the_scores():
    net, t, wide = small(), torch.tensor(0.5, dtype=F64), Graphs(nodes=9, features=2)
    x = graphs(2)
    padded = {k: v.clone() for k, v in wide.like(2, dtype=F64).items()}
    padded["x"][:, :5], padded["adj"][:, :5, :5], padded["mask"][:, 5:] = x["x"], x["adj"], 0
    near, far = (net(v, t, Condition(), process=GraphSystem()).eps for v in (x, padded))
    assert torch.allclose(far["adj"][:, :5, :5], near["adj"], atol=1e-10)
    assert torch.allclose(far["x"][:, :5], near["x"], atol=1e-10)
    assert far["adj"][:, 5:].abs().max() == 0


def test_the_loss_is_half_the_sum_over_all_entries():
    process, model = GraphSystem(), small()
    system = System(model=model, space=SPACE, process=process)
    batch, rng = Batch(x=graphs(4, [5, 4, 2, 1]), cond=Condition(), index=torch.arange(4)), Rng.of(7, 4)
    found = PartialScores().loss("model", batch, system, {}, rng)
    t = PartialScores().times.draw(process, 4, rng)[0]
    made = process.corrupt(batch.x, t, rng=rng)
    score = model(made.x_t, t, Condition(), process=process).score
    expected = 0
    for name in ("x", "adj"):
        std = process.kernel(t).sigma[name][:, None, None]
        expected = expected + 0.5 * (score[name] * std + made.noise[name]).square().flatten(1).sum(1)
    assert torch.allclose(found.per_sample, expected, atol=1e-9)
    assert set(found.logs) == {"x", "adj"}


def test_the_learning_rate_decays_step_by_step():
    player = PartialScores(decay=0.999).players(System(model=small(), space=SPACE, process=GraphSystem()))["model"]
    assert player.learning_rate_scale(1000) == pytest.approx(0.999**1000)


def test_wrong_compositions_and_inputs_are_refused():
    system = System(model=small(), space=SPACE, process=GraphSystem())
    with pytest.raises(IncompatibleComponents, match="gaussian"):  # its leaves' processes do not speak for it
        System(model=small(), space=SPACE, process=GraphSystem(), sampler=Heun())
    with pytest.raises(InvalidInput, match="nodes or no condition"):
        system.check(Condition(label=torch.tensor([1])))
    with pytest.raises(InvalidInput, match="at least 1"):
        system.check(Condition(nodes=torch.tensor([0])))
    wide = Graphs(nodes=5, features=3).like(1, dtype=F64)
    with pytest.raises(InvalidInput, match="2 features"):
        small()(wide, torch.tensor(0.5), Condition(), process=GraphSystem())
    with pytest.raises(SpecError, match="heads=3"):
        GraphScores(heads=3)
    with pytest.raises(SpecError, match="sigma_min"):
        Ve(sigma_min=2.0, sigma_max=1.0)
    with pytest.raises(SpecError, match="sizes"):
        GraphSystem(sizes=(0.0, -1.0))
