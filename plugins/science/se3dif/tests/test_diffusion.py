import attrs
import pytest
import torch
from suffuse_se3dif import so3
from suffuse_se3dif.arm import clearance, end_pose, joints_at
from suffuse_se3dif.energy import Sum, lie_gradient
from suffuse_se3dif.langevin import Se3Langevin
from suffuse_se3dif.mixture import PoseMixture
from suffuse_se3dif.motion import GraspAndMotion
from suffuse_se3dif.network import PoseEnergy
from suffuse_se3dif.objective import Se3Dsm
from suffuse_se3dif.poses import Poses, UniformPoses, move, scaled, tangent_noise
from suffuse_se3dif.process import Se3Gaussian
from suffuse_se3dif.scenes import blocked_scenes, three_grasps

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.contracts.sampler import Carry
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, Unsupported
from suffuse.parts import LogSnr, Uniform
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import seeded
from suffuse.testing.stand_ins import Circle
from suffuse.testing.statistics import covariance_within

F64 = torch.float64
POSES = ((0.5, 0.0, 0.0, 0.0, 0.0, 0.3), (-0.5, 0.2, 0.0, 2.0, 0.5, 0.0))


def system(model=None, sampler=None):
    return System(
        model=model or PoseMixture(poses=POSES), space=Poses(), process=Se3Gaussian(), sampler=sampler or Se3Langevin()
    )


def uniform(n, seed=0):
    return UniformPoses(Poses().like(n, dtype=F64)).sample(Rng.of(seed, n))


def test_sigma_is_the_published_one():
    sigma = Se3Gaussian().sigma(torch.tensor([0.0, 0.5, 1.0]))
    assert sigma[0] == 0
    assert sigma[2] == pytest.approx(0.7355, abs=1e-4)
    assert sigma[1] ** 2 == pytest.approx((0.5 - 1) / (2 * torch.tensor(0.5, dtype=F64).log().item()), abs=1e-15)


def test_corruption_multiplies_on_the_right_and_each_row_has_its_time():
    process, x0, t = Se3Gaussian(), uniform(4), torch.tensor([0.0, 0.2, 0.6, 1.0], dtype=F64)
    c = process.corrupt(x0, t, rng=Rng.of(1, 4))
    z, s = c.noise, process.sigma(t)[:, None]
    assert torch.allclose(c.x_t["R"], x0["R"] @ so3.exp(s * z["R"]), atol=1e-15)
    assert torch.equal(c.x_t["p"], x0["p"] + s * z["p"])
    assert torch.equal(c.x_t["R"][0], x0["R"][0])
    alone = process.corrupt({k: v[2:3] for k, v in x0.items()}, t[2], rng=Rng.of(1, 4).index(slice(2, 3)))
    assert torch.allclose(alone.x_t["R"], c.x_t["R"][2:3], atol=1e-15)


def test_the_target_is_the_score_of_the_geodesic_gaussian_and_minus_z_over_sigma():
    """The derivative of one pose's energy against the closed form from the noise; wide noise is wrapped."""
    process, t = Se3Gaussian(), torch.full((50,), 0.9, dtype=F64)
    model = PoseMixture(poses=(POSES[1],))
    x0 = move(Poses().like(50, dtype=F64), {k: v.repeat(50, 1) for k, v in tangent(POSES[1]).items()})
    c = process.corrupt(x0, t, rng=Rng.of(3, 50))
    noise = {"R": 2 * c.noise["R"], "p": c.noise["p"]}  # so that some turns are wider than pi
    x_t = move(x0, scaled(process.sigma(t), noise))
    score, goal = model(x_t, t, Condition(), process=process).score, process.target(noise, t)
    for name in ("R", "p"):
        assert torch.allclose(score[name], goal[name], atol=1e-9)
    wide = process.sigma(t) * noise["R"].norm(dim=1) > torch.pi
    assert 0 < wide.sum() < 50
    assert torch.allclose(goal["R"][~wide], -(noise["R"] / process.sigma(t)[:, None])[~wide], atol=1e-12)
    with pytest.raises(Unsupported, match="zero noise"):
        process.target(noise, torch.tensor(0.0))


def tangent(six):
    numbers = torch.tensor([six], dtype=F64)
    return {"R": numbers[:, 3:], "p": numbers[:, :3]}


def test_near_a_mode_a_mixture_has_that_modes_score():
    process, t = Se3Gaussian(), torch.tensor(0.02, dtype=F64)
    x = move({k: v.repeat(5, *[1] * (v.ndim - 1)) for k, v in at(POSES[0]).items()}, small(5))
    found = PoseMixture(poses=POSES)(x, t, Condition(), process=process).score
    only = -Poses().log(at(POSES[0], 5), x)["R"] / process.sigma(t) ** 2
    assert torch.allclose(found["R"], only, rtol=1e-6)
    label = torch.full((5,), 1)
    other = PoseMixture(poses=POSES).energy(x, t, Condition(label=label), process=process)
    alone = PoseMixture(poses=POSES[1:]).energy(x, t, Condition(), process=process)
    assert torch.allclose(other, alone)


def at(six, n=1):
    v = {k: w.repeat(n, 1) for k, w in tangent(six).items()}
    return move(Poses().like(n, dtype=F64), v)


def small(n):
    return scaled(0.05, tangent_noise(Poses().like(n, dtype=F64), Rng.of(4, n)))


def test_energies_do_not_change_when_object_and_pose_move_together():
    process, t, g, x = Se3Gaussian(), torch.tensor(0.5, dtype=F64), uniform(1, 8), uniform(5)
    before = PoseMixture(poses=POSES).energy(x, t, Condition(), process=process)
    moved = []
    for six in POSES:
        h = at(six)
        moved.append(torch.cat([h["p"] + g["p"], so3.log(g["R"] @ h["R"])], dim=1)[0].tolist())
    after = {"R": g["R"] @ x["R"], "p": x["p"] + g["p"]}
    assert torch.allclose(PoseMixture(poses=moved).energy(after, t, Condition(), process=process), before, atol=1e-12)


def test_a_sum_adds_scores():
    process, t, x = Se3Gaussian(), torch.tensor(0.5, dtype=F64), uniform(5)
    one, two = PoseMixture(poses=POSES[:1]), PoseMixture(poses=POSES)
    both = Sum(terms=(one, two), weights=(1.0, 0.3))(x, t, Condition(), process=process).score
    parts = [m(x, t, Condition(), process=process).score for m in (one, two)]
    for name in ("R", "p"):
        assert torch.allclose(both[name], parts[0][name] + 0.3 * parts[1][name], atol=1e-12)
    with pytest.raises(SpecError, match="weights"):
        Sum(terms=(one, two), weights=(1.0,))


def test_a_langevin_step_is_the_published_one():
    x, t, s = uniform(3), torch.tensor(0.6, dtype=F64), torch.tensor(0.5, dtype=F64)
    whole = system(PoseMixture(poses=POSES, spread=0.1), Se3Langevin(repeats=1))
    _, info = whole.step(whole, Carry(x=x, cond=Condition()), t, s, Rng.of(1, 3))
    sigma, score = Se3Gaussian().sigma, info.prediction.score
    c = 1e-3 * sigma(t) ** 2 / sigma(torch.tensor(1e-3)) ** 2
    z = tangent_noise(x, Rng.of(1, 3).at("noise", 0))
    v = {k: c / 2 * score[k] + 0.5 * c.sqrt() * z[k] for k in z}
    # On the left, by the derivative and the noise in the world's frame, as the paper writes it.
    left = so3.exp((x["R"] @ v["R"][..., None])[..., 0]) @ x["R"]
    assert torch.allclose(info.x_s["R"], left, atol=1e-12)
    assert torch.allclose(info.x_s["p"], x["p"] + v["p"], atol=1e-12)
    with pytest.raises(Unsupported, match="lower s"):
        whole.step(whole, Carry(x=x, cond=Condition()), s, t, Rng.of(1, 3))


def test_long_dynamics_at_one_level_have_the_energys_law():
    """Small angles, temperature 1, c = sigma^2/10: discretised dynamics has covariance sigma^2/(1 - c/(4 sigma^2))."""
    spread, n = 0.05, 4000
    model = PoseMixture(poses=(POSES[0],), spread=spread)
    floor = 1e-4
    width = spread**2 + float(Se3Gaussian().sigma(torch.tensor(floor))) ** 2
    one = Se3Langevin(repeats=80, descents=0, temperature=1.0, floor=floor, step_size=width / 10)
    x = system(model, one).sample(start=at(POSES[0], n), times=torch.tensor([floor, 0.0], dtype=F64), dtype=F64)
    v = Poses().log(at(POSES[0], n), x)
    expected = width / (1 - 0.1 / 4) * torch.eye(3, dtype=F64)
    assert covariance_within(v["p"], expected)
    assert covariance_within(v["R"], expected)  # curvature adds a share of sigma^2/12, 2e-4


def test_samples_are_poses_also_in_single_precision_and_with_other_grids():
    x = system(sampler=Se3Langevin(steps=30, grid=Uniform(start=0.8))).sample(6, seed=1)
    Poses().check(x)
    assert x["R"].dtype == torch.float32
    assert not x["R"].requires_grad


def test_the_loss_is_the_mean_absolute_error_and_reaches_the_weights():
    with seeded(0):
        net = PoseEnergy(points=4, width=8, features=2, objects=2)
    whole, n = system(net), 6
    x = UniformPoses(Poses().like(n)).sample(Rng.of(0, n))
    label = torch.arange(n) % 2
    batch = Batch(x=x, cond=Condition(label=label), index=torch.arange(n))
    plain = Se3Dsm().loss("model", batch, whole, {}, Rng.of(1, n))
    t = 1 - Rng.of(1, n).at("times").uniform(torch.empty(n, dtype=F64))
    c = whole.process.corrupt(x, t, rng=Rng.of(1, n))
    slope = lie_gradient(lambda h: net.energy(h, t, batch.cond, process=whole.process), c.x_t, differentiable=False)
    goal = whole.process.target(c.noise, t)
    expected = torch.cat([(slope[k] + goal[k]).abs() for k in ("R", "p")], dim=1).mean(1) / 20
    assert torch.allclose(plain.per_sample, expected, rtol=1e-4)
    points = torch.randn(n, 7, 3, generator=torch.Generator().manual_seed(0))
    known = Condition(label=label, points=points, distances=points.norm(dim=2) - 1)
    both = Se3Dsm().loss("model", attrs.evolve(batch, cond=known), whole, {}, Rng.of(1, n))
    found = net.signed_distance(points, t, batch.cond).clamp(-10, 0.6)
    error = (found - (points.norm(dim=2) - 1).clamp(-10, 0.6)).abs().mean(1)
    assert torch.allclose(both.per_sample - plain.per_sample, error, atol=1e-5)
    slopes = torch.autograd.grad(error.sum(), list(net.field.parameters()))
    assert all(bool((g != 0).any()) for g in slopes)
    with pytest.raises(InvalidInput, match="come together"):
        Se3Dsm().loss("model", attrs.evolve(batch, cond=known.without({"points"})), whole, {}, Rng.of(1, n))


def test_what_does_not_fit_is_refused():
    with pytest.raises(IncompatibleComponents, match="se3-gaussian"):
        System(model=PoseMixture(poses=POSES), space=Poses(), process=Circle())
    with pytest.raises(IncompatibleComponents, match="gaussian"):
        system(sampler=Se3Langevin(grid=LogSnr()))
    with pytest.raises(SpecError, match="six"):
        PoseMixture(poses=((1.0, 2.0),))
    with pytest.raises(SpecError, match="weights"):
        PoseMixture(poses=POSES, weights=(1.0,))
    with pytest.raises(InvalidInput, match="label"):
        system().sample(2, cond={"label": torch.tensor([0, 2])})


def test_the_arm():
    q = torch.tensor([torch.pi / 2, -torch.pi / 2], dtype=F64)
    assert torch.allclose(joints_at(q, (1.0, 0.5)), torch.tensor([[0, 0], [0, 1.0], [0.5, 1.0]], dtype=F64), atol=1e-15)
    end = end_pose(q, (1.0, 0.5))
    assert torch.allclose(end["R"], torch.eye(3, dtype=F64), atol=1e-15)
    discs = torch.tensor([[0.5, 0.5, 0.1], [1.0, 1.0, 0.2]], dtype=F64)
    expected = torch.tensor([[0.4, 0.4], [1.0 - 0.2, 0.3]], dtype=F64)
    assert torch.allclose(clearance(q, (1.0, 0.5), discs), expected, atol=1e-12)


def test_the_task_plans_and_refuses_wrong_shapes():
    inputs, free = blocked_scenes(6, seed=0)
    task = GraspAndMotion(particles=8)
    result = task.run(three_grasps(), {**inputs, "cond": Condition(label=free)}, Rng.of(0, 1))
    path = result.states["trajectory"]
    assert path.shape == (6, 11, 3)
    assert torch.equal(path[:, 0], inputs["start"])
    assert result.metrics["success"] > 0
    again = task.run(three_grasps(), {**inputs, "cond": Condition(label=free)}, Rng.of(0, 1))
    assert torch.equal(again.states["trajectory"], path)
    with pytest.raises(InvalidInput, match="discs"):
        task.run(three_grasps(), {**inputs, "discs": inputs["discs"][:2]}, Rng.of(0, 1))
    with pytest.raises(Unsupported, match="energy"):
        task.run(attrs.evolve(three_grasps(), model=Flat()), inputs, Rng.of(0, 1))


class Flat(PoseMixture.__mro__[1]):
    """A denoiser without an energy."""

    provides = frozenset({"score"})

    def forward(self, *args, **kwargs):
        raise AssertionError
