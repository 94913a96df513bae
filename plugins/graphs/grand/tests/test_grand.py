import math

import pytest
import torch
from suffuse_grand.attention import Attention, edges_of
from suffuse_grand.blocks import BlockModel
from suffuse_grand.classifier import GcnClassifier, Grand
from suffuse_grand.integrators import AdamsBashforth, Dopri5, Euler, Flow, ImplicitEuler, RungeKutta4
from suffuse_grand.rewiring import Rewiring
from suffuse_grand.task import NodeClassification
from suffuse_graph_sets.community import CommunitySmall
from suffuse_graph_sets.sets import everything

from suffuse.errors import InvalidInput, SpecError
from suffuse.rng import Rng
from suffuse.state import rows
from suffuse.testing.fitting import seeded
from suffuse.testing.statistics import slope

F64 = torch.float64
SOLVERS = [Euler(steps=6), ImplicitEuler(steps=3), RungeKutta4(steps=3), AdamsBashforth(steps=6), Dopri5()]


def graph(n=9, batch=2, features=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    lower = (torch.rand(batch, n, n, generator=g) < 0.4).double().tril(-1)
    x = torch.randn(batch, n, features, generator=g, dtype=F64)
    return {"x": x, "adj": lower + lower.mT, "mask": torch.ones(batch, n, dtype=F64)}


def network(seed=0, **settings):
    settings = {"features": 3, "classes": 4, "hidden": 5, "width": 8, "heads": 2, "time": 1.5, **settings}
    with seeded(seed):
        made = Grand(**settings)
        for layer in (made.attend.key, made.attend.query):
            torch.nn.init.normal_(layer.weight)
    return made.double().eval().requires_grad_(False)


def linear_flow(seed=0):
    made, state = network(seed), graph(seed=seed)
    x = made.encoder(state["x"]).detach()
    return made.flow(x, state["adj"]), x


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_adams_bashforth_has_its_order(order):
    flow, x = linear_flow()
    exact = torch.linalg.matrix_exp(2 * flow.matrix(x)) @ x
    steps = (32, 64, 128)
    errors = [float((AdamsBashforth(steps=n, order=order).solve(flow, x, 2.0) - exact).abs().max()) for n in steps]
    assert abs(slope(steps, errors).value - order) < 0.2


def test_the_adaptive_solver_keeps_its_tolerance():
    flow, x = linear_flow()
    exact = torch.linalg.matrix_exp(3 * flow.matrix(x)) @ x
    loose, tight = (float((Dopri5(rtol=r, atol=r).solve(flow, x, 3.0) - exact).abs().max()) for r in (1e-3, 1e-9))
    assert tight < 1e-7 < loose < 1e-2


def test_nonlinear_diffusion_converges_to_the_adaptive_solution():
    made, state = network(attention="nonlinear"), graph()
    x = made.encoder(state["x"]).detach()
    flow = made.flow(x, state["adj"])
    exact = Dopri5(rtol=1e-10, atol=1e-10).solve(flow, x, 1.0)
    steps = (16, 32, 64)
    for solver, order in ((Euler, 1), (ImplicitEuler, 1), (RungeKutta4, 4)):
        errors = [float((solver(steps=n).solve(flow, x, 1.0) - exact).abs().max()) for n in steps]
        assert abs(slope(steps, errors).value - order) < 0.25
    linear = network(attention="linear").flow(x, state["adj"])
    assert float((Dopri5().solve(linear, x, 1.0) - exact).abs().max()) > 1e-3


def test_an_implicit_step_solves_its_system():
    flow, x = linear_flow()
    a = flow.matrix(x) + torch.eye(9, dtype=F64)
    after = ImplicitEuler(steps=1).solve(flow, x, 5.0)
    torch.testing.assert_close(6 * after - 5 * a @ after, x)


def test_the_source_is_integrated():
    """dX/dt = c X + S with a number c has X(T) = exp(cT) X(0) + (exp(cT) - 1)/c S."""
    x, source = torch.randn(2, 1, 4, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    flow = Flow(lambda v: -0.5 * torch.eye(4, dtype=F64).expand(1, 4, 4), source)
    exact = math.exp(-1) * x + (1 - math.exp(-1)) / 0.5 * source
    torch.testing.assert_close(RungeKutta4(steps=40).solve(flow, x, 2.0), exact, rtol=1e-6, atol=1e-6)
    errors = [float((ImplicitEuler(steps=n).solve(flow, x, 2.0) - exact).abs().max()) for n in (20, 40, 80)]
    assert abs(slope((20, 40, 80), errors).value - 1) < 0.1


def test_explicit_steps_above_two_grow():
    """On the two-node graph A = [[p, 1-p], [1-p, p]]: the difference is multiplied by 1 - 2 tau (1 - p)."""
    p = 0.1
    a = torch.tensor([[[p, 1 - p], [1 - p, p]]], dtype=F64)
    flow = Flow(lambda _: a - torch.eye(2, dtype=F64))
    x = torch.tensor([[[1.0], [-1.0]]], dtype=F64)
    after = Euler(steps=4).solve(flow, x, 8.0)
    torch.testing.assert_close(after[0, 0, 0], torch.tensor((1 - 4 * (1 - p)) ** 4, dtype=F64))
    implicit = ImplicitEuler(steps=4).solve(flow, x, 8.0)
    torch.testing.assert_close(implicit[0, 0, 0], torch.tensor((1 + 4 * (1 - p)) ** -4, dtype=F64))


def test_attention_is_the_softmax_over_neighbours():
    with seeded(0):
        attend = Attention(3, 8, 2).double()
        torch.nn.init.normal_(attend.key.weight)
        torch.nn.init.normal_(attend.query.weight)
    state = graph(batch=1)
    x, edges = state["x"], edges_of(state["adj"])
    found = attend(x, edges)[0]
    k, q = attend.key(x)[0].view(9, 2, 4), attend.query(x)[0].view(9, 2, 4)
    for i in range(9):
        near = edges[0, i].nonzero()[:, 0]
        expected = torch.zeros(9, dtype=F64)
        for h in range(2):
            expected[near] += torch.softmax(q[near, h] @ k[i, h] / 2.0, 0) / 2
        torch.testing.assert_close(found[i], expected)
    torch.testing.assert_close(found.sum(1), torch.ones(9, dtype=F64))


def test_attention_starts_uniform():
    with seeded(0):
        attend = Attention(3, 8, 2).double()
    edges = edges_of(graph()["adj"])
    torch.testing.assert_close(
        attend(graph()["x"], edges), edges / edges.sum(2, keepdim=True, dtype=F64), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_exchanging_nodes_exchanges_logits(solver):
    rewiring = Rewiring(keep=0.7) if isinstance(solver, Euler) else None
    made = network(attention="nonlinear", integrator=solver, source=True, rewiring=rewiring)
    state, order = graph(), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    moved = {"x": state["x"][:, order], "adj": state["adj"][:, order][:, :, order], "mask": state["mask"]}
    torch.testing.assert_close(made(moved), made(state)[:, order])


def test_absent_nodes_and_other_graphs_change_nothing():
    for make in (network, lambda: GcnClassifier(features=3, classes=4).double().eval()):
        made, state = make(), graph(n=9)
        whole = made(state)
        padded = {
            "x": torch.nn.functional.pad(state["x"], (0, 0, 0, 2), value=7.0),
            "adj": torch.nn.functional.pad(state["adj"], (0, 2, 0, 2), value=1.0),
            "mask": torch.nn.functional.pad(state["mask"], (0, 2)),
        }
        torch.testing.assert_close(made(padded)[:, :9], whole)
        torch.testing.assert_close(made(rows(state, slice(1, 2))), whole[1:])


def test_depth_costs_no_parameters():
    count = {n: sum(p.numel() for p in network(integrator=Euler(steps=n)).parameters()) for n in (1, 64)}
    assert count[1] == count[64]


def test_rewiring_joins_two_hops_and_keeps_the_most_attended():
    path = torch.zeros(1, 4, 4)
    for i in range(3):
        path[0, i, i + 1] = path[0, i + 1, i] = 1
    weight = torch.arange(16.0).view(1, 4, 4)
    within_two = (torch.arange(4)[:, None] - torch.arange(4)).abs() <= 2
    every = Rewiring(keep=1.0).rewire(edges_of(path), lambda e: weight)[0]
    assert torch.equal(every, within_two)
    half = Rewiring(keep=0.5).rewire(edges_of(path), lambda e: weight)[0]
    chosen = half & ~torch.eye(4, dtype=torch.bool)
    others = within_two & ~half
    assert int(chosen.sum()) == 5  # of ten
    assert float(weight[0][chosen].min()) > float(weight[0][others].max())
    assert bool(half.diagonal().all())
    alone = Rewiring().rewire(edges_of(torch.zeros(1, 4, 4)), lambda e: weight)[0]
    assert torch.equal(alone, torch.eye(4, dtype=torch.bool))


def test_every_solver_trains():
    example = BlockModel(count=1, nodes=30, labelled=3).rows(torch.tensor([0]), Rng.of(0, 1))
    for solver in SOLVERS:
        with seeded(0):
            made = Grand(
                features=16,
                classes=3,
                time=2.0,
                integrator=solver,
                attention="nonlinear",
                source=True,
                hidden=8,
                width=8,
            )
        loss = torch.nn.functional.cross_entropy(made(example.x)[0], example.cond["label"][0])
        found = torch.autograd.grad(loss, list(made.parameters()))
        assert all(bool(g.isfinite().all()) for g in found)
        assert all(float(g.abs().max()) > 0 for g in found)


def test_the_task_learns_and_repeats():
    example = BlockModel(count=2, nodes=60, inside=0.3, across=0.01).rows(torch.arange(2), Rng.of(0, 2))
    inputs = {"graph": example.x, "label": example.cond["label"], "train": example.cond["train"]}
    with seeded(0):
        made = Grand(features=16, classes=3, time=2.0, integrator=Euler(steps=4), hidden=16, width=16)
    before = [p.clone() for p in made.parameters()]
    task = NodeClassification(network=made, epochs=40)
    first, again = (task.run(None, inputs, Rng.of(0, 1)) for _ in (0, 1))
    other = task.run(None, inputs, Rng.of(1, 1))
    assert first.metrics["accuracy"] > 0.9  # chance is 1/3
    assert torch.equal(first.states["logits"], again.states["logits"])
    assert not torch.equal(first.states["logits"], other.states["logits"])
    assert all(torch.equal(p, was) for p, was in zip(made.parameters(), before, strict=True))


def test_graphs_of_the_graph_sets_are_classified():
    """Which half of a pair of communities a node is in, from its degree and its neighbours; graphs of several sizes."""
    data = everything(CommunitySmall(split="test"))
    x, sizes = data.x, data.cond["nodes"]
    label = (torch.arange(20) >= sizes[:, None] // 2).long()
    train = torch.rand(label.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    made = Grand(features=10, classes=2, time=1.0, integrator=ImplicitEuler(steps=1), hidden=8, width=8)
    found = NodeClassification(network=made, epochs=2).run(
        None, {"graph": x, "label": label, "train": train}, Rng.of(0, 1)
    )
    assert found.states["logits"].shape == (*label.shape, 2)
    assert bool(found.states["logits"].isfinite().all())


def test_block_models_have_their_densities():
    data = BlockModel(count=4, nodes=120)
    example = data.rows(torch.arange(4), Rng.of(0, 4))
    adj, label = example.x["adj"], example.cond["label"][0]
    assert torch.equal(adj, adj.mT)
    assert float(adj.diagonal(dim1=1, dim2=2).sum()) == 0
    inside = (label[:, None] == label).tril(-1)
    for pairs, p in ((inside, 0.06), ((~inside).tril(-1) & (label[:, None] != label), 0.008)):
        found = adj[:, pairs]
        assert abs(float(found.mean()) - p) < 5 * math.sqrt(p * (1 - p) / found.numel())
    assert example.cond["train"].view(4, 3, 40).sum(2).eq(10).all()
    assert torch.equal(data.rows(torch.tensor([2]), Rng.of(5, 1)).x["x"], example.x["x"][2:3])


def test_bad_inputs():
    with pytest.raises(InvalidInput, match=r"\(batch, nodes, 3\)"):
        network()(graph(features=4))
    with pytest.raises(InvalidInput, match="leaves x, adj and mask"):
        network()(torch.zeros(1, 2, 3))
    with pytest.raises(SpecError, match="width must be a multiple of heads, got 8 and 3"):
        Grand(features=3, classes=2, width=8, heads=3)
    with pytest.raises(SpecError, match="labelled=10"):
        BlockModel(nodes=30)
    task, state = NodeClassification(network=network(), epochs=0), graph()
    label, train = torch.zeros(2, 9, dtype=torch.long), torch.zeros(2, 9, dtype=torch.bool)
    with pytest.raises(InvalidInput, match="graph, label and train"):
        task.run(None, {"graph": state}, Rng.of(0, 1))
    with pytest.raises(InvalidInput, match="nodes to train on"):
        task.run(None, {"graph": state, "label": label, "train": train}, Rng.of(0, 1))
    with pytest.raises(InvalidInput, match="bool train of shape"):
        task.run(None, {"graph": state, "label": label, "train": label}, Rng.of(0, 1))
