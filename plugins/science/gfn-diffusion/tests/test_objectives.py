import math
from importlib.resources import files

import attrs
import pytest
import torch
from suffuse_ddpm.simple import Simple
from suffuse_energies.gaussian import Gaussian
from suffuse_energies.lattice import Lattice
from suffuse_gfn_diffusion.balance import MaximumLikelihood, ReverseKl, TrajectoryBalance, VarGrad
from suffuse_gfn_diffusion.claims import linear_system
from suffuse_gfn_diffusion.flows import DetailedBalance, SubTrajectoryBalance
from suffuse_gfn_diffusion.local_search import LocalSearch, by_rank
from suffuse_gfn_diffusion.network import FourierMlp
from suffuse_gfn_diffusion.paths import evaluate, forward
from suffuse_gfn_diffusion.policy import Policy
from suffuse_gfn_diffusion.process import Pinned
from suffuse_gfn_diffusion.reproduce import reproduce
from suffuse_gfn_diffusion.sampler import EulerMaruyama

from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import fit, seeded
from suffuse.testing.statistics import covariance_within
from suffuse.train.experiment import load_experiment
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer

F64 = torch.float64


def system_of(dim=2, steps=5, scale=2.0, hidden=16):
    with seeded(0):
        model = Policy(backbone=FourierMlp(dim=dim, hidden=hidden))
    return System(
        model=model, process=Pinned(scale=scale), sampler=EulerMaruyama(steps=steps), space=Euclidean(shape=(dim,))
    )


def flow(dim=2, **settings):
    with seeded(1):
        return FourierMlp(dim=dim, outputs=1, hidden=16, **settings)


OBJECTIVES = {
    "tb": TrajectoryBalance,
    "vargrad": VarGrad,
    "kl": ReverseKl,
    "mle": MaximumLikelihood,
    "db": lambda target: DetailedBalance(target=target, flow=flow()),
    "subtb": lambda target: SubTrajectoryBalance(target=target, flow=flow(), forward_looking=True),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns_a_gaussian(name):
    """Less variance and a mean of its own: no motion gives that."""
    target, system = Gaussian(mean=1.0, std=0.5), system_of(scale=1.0)
    objective = OBJECTIVES[name](target=target)
    judge = ReverseKl(target=target)

    def divergence():
        with torch.no_grad():
            return float(judge.loss("model", None, system, {}, Rng.of(9, 2000)).per_sample.mean()) + target.log_z

    before = divergence()
    # Where a flow is learned too, the policy follows it.
    steps = 200 if name == "db" else 60
    logs = fit(system, objective, None, steps=steps, batch=64, seed=0, learning_rate=1e-2)
    assert divergence() < before / 3
    assert math.isfinite(float(logs[-1]["model/loss"]))


def test_vargrad_does_not_see_constants_and_is_half_the_variance():
    system, rng = system_of(), Rng.of(0, 32)

    class Shifted(Gaussian):
        def energy(self, x):
            return super().energy(x) + 7.0

    plain, shifted = (
        VarGrad(target=t).loss("model", None, system, {"iteration": 0}, rng) for t in (Gaussian(), Shifted())
    )
    torch.testing.assert_close(plain.per_sample, shifted.per_sample, rtol=1e-3, atol=1e-4)
    paths = evaluate(system, forward(system, rng.at("forward")), rng)
    off = paths.log_ratio.sum(0) + Gaussian().energy(paths.states[-1])
    torch.testing.assert_close(plain.per_sample.mean(), off.var(correction=0) / 2, rtol=1e-4, atol=1e-4)


def test_the_learned_log_z_moves_at_its_own_rate():
    """Adam's first step is the learning rate, whatever the gradient; of log Z it is log_z_rate as much."""
    objective = TrajectoryBalance(target=Gaussian(std=5.0))
    fit(system_of(), objective, None, steps=1, batch=8, seed=0, learning_rate=1e-3, clip=math.inf)
    assert abs(float(objective.log_z)) == pytest.approx(0.1, rel=1e-3)


def test_parts_of_whole_trajectories():
    """With lambda -> infinity SubTB is twice TB, with lambda -> 0 it is DB over T, of the same flows."""
    system, target, rng, state = system_of(), Gaussian(std=0.7), Rng.of(0, 6), {"iteration": 0}
    net = flow()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1)
    db = DetailedBalance(target=target, flow=net).loss("model", None, system, state, rng).per_sample
    losses = [
        SubTrajectoryBalance(target=target, flow=net, lambda_=v).loss("model", None, system, state, rng).per_sample
        for v in (1e-7, 1e7)
    ]
    torch.testing.assert_close(losses[0], 2 * db / 5, rtol=1e-3, atol=1e-4)
    tb = TrajectoryBalance(target=target)
    with torch.no_grad():
        tb.scaled_log_z += net(torch.zeros(1, 2), torch.zeros(1), None)[0, 0] / tb.log_z_rate
    whole = tb.loss("model", None, system, state, rng).per_sample
    torch.testing.assert_close(losses[1], 2 * whole, rtol=1e-3, atol=1e-3)
    weights = SubTrajectoryBalance(target=target, flow=net).weights(5)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert float(weights[0, 3] / weights[0, 2]) == pytest.approx(2.0)
    assert not weights.tril().any()


def test_forward_looking_flows_are_right_for_the_middle_of_a_gaussian():
    """At the origin's side the flow is the motion's law, at the end the reward's: their geometric mean between."""
    target = Gaussian(dim=2, std=math.sqrt(2.0))
    system = system_of(scale=2.0, steps=4)
    objective = SubTrajectoryBalance(target=target, flow=flow(), forward_looking=True)
    paths = evaluate(system, forward(system, Rng.of(0, 3)), Rng.of(0, 3))
    log_f = objective.log_flow(system, paths)
    x = paths.states[2]
    motion = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)  # variance 2 * 0.5
    torch.testing.assert_close(log_f[2], 0.5 * motion - 0.5 * target.energy(x))
    torch.testing.assert_close(log_f[-1], -target.energy(paths.states[-1]))


def test_the_energy_s_gradient_enters_through_the_kl_alone():
    system, calls = linear_system(0.3, scale=1.0, steps=3, dim=2), []

    class Watched(Gaussian):
        def energy(self, x):
            calls.append(x.requires_grad)
            return super().energy(x)

    VarGrad(target=Watched()).loss("model", None, system, {"iteration": 0}, Rng.of(0, 4))
    assert calls == [False]
    ReverseKl(target=Watched()).loss("model", None, system, {}, Rng.of(0, 4))
    assert calls == [False, True]


def test_chains_of_the_search_leave_the_target_as_it_is():
    target = Lattice(side=1, variance=0.5)
    search = LocalSearch(steps=60, burn_in=20, step_size=0.2)
    x = target.sample(Rng.of(0, 3000), dtype=F64)
    found, log_r = search.refine(target, x, Rng.of(1, 3000))
    torch.testing.assert_close(log_r, -target.energy(found))
    # Accepted proposals are not weighted by how long a chain stays: at 57 % that bias is small but real.
    assert found.mean(0).abs().max() < 0.02
    assert abs(float(found.var()) / 0.5 - 1) < 0.1


def test_the_search_adapts_its_step():
    target, kept = Gaussian(std=0.1), {}
    for steps in (100, 400):
        search = LocalSearch(steps=steps, burn_in=steps - 20, step_size=0.1)
        found, _ = search.refine(target, target.sample(Rng.of(0, 500)), Rng.of(1, 500))
        kept[steps] = len(found) / (500 * 20)
    assert abs(kept[400] - 0.574) < 0.1
    assert abs(kept[100] - 0.574) > 2 * abs(kept[400] - 0.574)


def test_ranks():
    log_r = torch.tensor([0.0, 3.0, -1.0, 2.0])
    drawn = by_rank(log_r, Rng.of(0, 40_000))
    weights = torch.tensor([1 / 2.04, 1 / 0.04, 1 / 3.04, 1 / 1.04], dtype=F64)
    share = weights / weights.sum()
    counts = drawn.bincount(minlength=4).double() / 40_000
    assert ((counts - share).abs() < 5 * (share * (1 - share) / 40_000).sqrt()).all()


def test_odd_steps_replay_what_the_search_found():
    search = LocalSearch(every=2, steps=4, burn_in=0, capacity=70)
    objective, system = VarGrad(target=Gaussian(), local_search=search), system_of()
    rng = Rng.of(0, 16)
    state = objective.start(system, rng)
    loss = objective.loss("model", None, system, state, rng)
    assert set(loss.seen) == {"reached"}
    state = objective.after({**state, **loss.seen}, 1, system, rng)
    assert len(state["drawn"]) == 16
    assert 0 < len(state["found"]) <= 70
    assert not objective.loss("model", None, system, state, rng).seen
    for step in range(2, 30):
        loss = objective.loss("model", None, system, state, rng.at(step))
        state = objective.after({**state, **loss.seen}, step, system, rng.at(step))
    assert len(state["drawn"]) == len(state["found"]) == 70
    assert "reached" not in state
    torch.testing.assert_close(state["found_log_r"], -Gaussian().energy(state["found"]))


def test_exploration_fades():
    objective, system = VarGrad(target=Gaussian(), exploration=1.0, exploration_steps=10), system_of(scale=1.0)
    rng = Rng.of(0, 10_000)
    for iteration, extra in ((0, 1.0), (5, 0.25), (10, 0.0), (50, 0.0)):
        paths, _ = objective.draw(system, {"iteration": iteration}, rng)
        assert covariance_within(paths.states[-1], (1 + 5 * extra) * torch.eye(2, dtype=F64))


@pytest.mark.parametrize("make", [TrajectoryBalance, lambda **kw: SubTrajectoryBalance(flow=flow(), **kw)])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, make):
    search = LocalSearch(every=2, steps=3, burn_in=0, capacity=50)

    def trainer(folder, steps):
        with seeded(3):
            objective = make(target=Lattice(side=3), exploration=0.2, local_search=search)
        train = Settings(steps=steps, batch=8, save_every=3, log_every=3)
        return Trainer(Experiment(system=system_of(), objective=objective, train=train), tmp_path / folder)

    def bits(run):
        return [*run.system.model.parameters(), *(v for v in run.progress.values() if isinstance(v, torch.Tensor))]

    whole = trainer("whole", 9)
    whole.run()
    trainer("parts", 5).run()
    parts = trainer("parts", 9)
    parts.run()
    for a, b in zip(bits(whole), bits(parts), strict=True):
        assert torch.equal(a, b)
    assert parts.progress["iteration"] == 9
    assert len(parts.progress["found"])


@pytest.mark.parametrize("name", ["mixture", "funnel", "many-well"])
def test_recipes_load(name):
    experiment = load_experiment(str(files("suffuse_gfn_diffusion") / "recipes" / f"{name}.toml"))
    assert experiment.data is None
    assert experiment.objective.local_search == LocalSearch()
    assert experiment.objective.target.shape == experiment.system.space.shape


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="expected one of mixture, funnel, many-well, got 'ring'"):
        reproduce("ring", tmp_path)
    with pytest.raises(SpecError, match="burn_in must be below steps"):
        LocalSearch(steps=10, burn_in=10)
    objective = DetailedBalance(target=Gaussian(), flow=FourierMlp(dim=2))
    with pytest.raises(InvalidInput, match="one output"):
        objective.loss("model", None, system_of(), {"iteration": 0}, Rng.of(0, 4))
    with pytest.raises(SpecError, match="trains on data"):
        Experiment(system=system_of(), objective=Simple(), train=Settings(steps=1))


def test_settings_of_the_search_are_part_of_a_spec():
    from suffuse.spec import structure, unstructure

    objective = VarGrad(target=Lattice(), local_search=LocalSearch(every=7))
    spec = unstructure(objective)
    assert spec["with"]["local_search"]["every"] == 7
    assert structure(spec, VarGrad) == objective
    assert attrs.evolve(objective, local_search=None) != objective
