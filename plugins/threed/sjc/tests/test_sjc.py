"""Score Jacobian chaining against closed forms."""

import math

import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_edm.process import Edm
from suffuse_sjc.cameras import box, rays, spiral, upper
from suffuse_sjc.claims import ChainRule, Level
from suffuse_sjc.descent import Descent
from suffuse_sjc.levels import LogUniform, Ticks
from suffuse_sjc.lift import Lift
from suffuse_sjc.linear import Crops, Projections
from suffuse_sjc.perturb import Perturb, perturbed
from suffuse_sjc.renderer import Renderer
from suffuse_sjc.voxels import Voxels

from suffuse.contracts.condition import Condition
from suffuse.contracts.kinds import contract_of
from suffuse.contracts.process import as_time
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Task
from suffuse.errors import InvalidInput, SpecError, UnknownComponent, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import ExactDenoiser, mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, Explosion

F64 = torch.float64
NONE = Condition()
SMALL = {"channels": 1, "grid": 6, "pixels": 5, "texture": 3}


class Pictures(ExactDenoiser):
    """The exact denoiser of a mixture, for states that are pictures."""

    def forward(self, x_t, t, cond, **more):
        p = super().forward(x_t.flatten(1), t, cond, **more)
        return attrs.evolve(p, value=p.value.view_as(x_t), x_t=x_t)


def pictures(law, shape=(1, 8, 8), process=None, **parts):
    return System(model=Pictures(mixture=law), space=Euclidean(shape=shape), process=process or Explosion(), **parts)


def gaussian(mean=0.5, variance=0.04, dim=64, labels=None):
    mean = torch.full((1, dim), mean, dtype=F64)
    return GaussianMixture([1.0], mean, torch.tensor(variance), labels)


def two(dim=64):
    means = torch.stack([torch.full((dim,), -0.5), torch.full((dim,), 0.7)]).double()
    return GaussianMixture([0.5, 0.5], means, torch.tensor(0.01), labels=torch.arange(2))


def lift(**more):
    settings = {"renderer": Crops(), "descent": Descent(steps=100, learning_rate=0.05), "times": LogUniform()}
    return Lift(**{**settings, **more})


# What is estimated


@pytest.mark.parametrize("claim", [Level(), ChainRule()])
def test_claims_hold_for_a_seed_and_fail_when_sabotaged(claim):
    assert claim.measure(0).effect > 0
    assert claim.measure(0, sabotage=True).effect < 0


def test_the_variances_of_a_scalar_gaussian_are_the_closed_forms():
    """Plain sigma^2/(S + sigma^2)^2, reduced S^2/(sigma^2 (S + sigma^2)^2); 6 standard errors of a variance."""
    system, n = mixture_system(gaussian(0.0, 0.09, 1), Explosion()), 40_000
    x, sigma = torch.full((n, 1), 0.2, dtype=F64), 0.6
    t = system.process.time(-2 * as_time(sigma).log())
    wanted = {False: sigma**2 / (0.09 + sigma**2) ** 2, True: 0.09**2 / (sigma**2 * (0.09 + sigma**2) ** 2)}
    for reduced, variance in wanted.items():
        p = perturbed(system.denoise, system.process, x, t, NONE, samples=1, reduced=reduced, rng=Rng.of(0, n))
        assert abs(float(p.score.var()) / variance - 1) < 6 * math.sqrt(2 / n)


@pytest.mark.parametrize("process", [Circle(), Edm(sigma_max=10.0)], ids=lambda p: type(p).__name__)
def test_the_reduced_gradient_is_that_of_score_distillation(process):
    """``eps_hat(x_t) - eps`` at one noise, at any scale of the signal."""
    system, rng, t = mixture_system(two(4), process), Rng.of(0, 7), torch.rand(7, dtype=F64) * 0.8 + 0.1
    x = rng.at("x").normal(torch.empty(7, 4, dtype=F64))
    p = perturbed(system.denoise, process, process.mean(x, t), t, NONE, samples=1, reduced=True, rng=rng)
    eps = rng.at("perturb", 0).at("").normal(x)
    alpha, sigma = process.scalars(t)
    wanted = system.denoise(alpha[:, None] * x + sigma[:, None] * eps, t, NONE).eps - eps
    torch.testing.assert_close(p.eps, wanted, rtol=1e-9, atol=1e-9)
    assert p.nfe == 1


def test_plain_and_reduced_differ_by_the_noise_alone():
    system, rng, t = mixture_system(two(4), Circle()), Rng.of(0, 7), torch.tensor(0.4, dtype=F64)
    x = rng.at("x").normal(torch.empty(7, 4, dtype=F64))
    settings = {"samples": 3, "rng": rng}
    plain, reduced = (
        perturbed(system.denoise, system.process, x, t, NONE, reduced=r, **settings).eps for r in (False, True)
    )
    z = torch.stack([rng.at("perturb", n).at("").normal(x) for n in range(3)]).mean(0)
    torch.testing.assert_close(plain - reduced, z)


def test_the_guidance_is_the_average_and_needs_rng():
    guided = mixture_system(two(4), Circle(), guidance=Perturb(samples=4))
    x, t, rng = torch.zeros(3, 4, dtype=F64), torch.tensor(0.5, dtype=F64), Rng.of(0, 3)
    settings = {"samples": 4, "reduced": True, "rng": rng}
    wanted = perturbed(guided.plain, guided.process, x, t, NONE, **settings)
    found = guided.denoise(x, t, NONE, rng=rng)
    assert torch.equal(found.x0, wanted.x0)
    assert found.nfe == 4
    with pytest.raises(Unsupported, match="rng"):
        guided.denoise(x, t, NONE)


# Levels


def test_ticks_are_the_chain_without_its_ends():
    t, weight = Ticks().draw(Circle(), 20_000, Rng.of(0, 20_000))
    i = (t * 1000).round()
    assert torch.equal(i / 1000, t)
    assert (int(i.min()), int(i.max()), len(i.unique())) == (11, 970, 960)
    assert bool((weight == 1).all())
    with pytest.raises(SpecError, match="low"):
        Ticks(steps=10, low=5, high=5)


def test_log_uniform_levels():
    t, _ = LogUniform(low=0.1, high=2.0).draw(Circle(), 4000, Rng.of(0, 4000))
    alpha, sigma = Circle().scalars(t)
    level = (sigma / alpha).log()
    assert math.log(0.1) <= float(level.min()) < float(level.max()) <= math.log(2.0) + 1e-9
    width = math.log(20.0)
    assert abs(float(level.mean()) - math.log(0.1) - width / 2) < 5 * width / math.sqrt(12 * 4000)


# Descent and the renderers' kind


def test_a_plugin_s_own_kind_has_a_contract():
    assert contract_of("renderer", Voxels) is Renderer
    assert contract_of("task", Voxels) is Task
    for unknown in (lambda: contract_of("renderer"), lambda: contract_of("rendering", Voxels)):
        with pytest.raises(UnknownComponent, match="no contract"):
            unknown()


@pytest.mark.parametrize("optimizer", ["adamax", "adam", "sgd"])
def test_descent_finds_each_row_s_own_minimum(optimizer):
    goal = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=F64)
    start = {"a": torch.zeros(2, 2, dtype=F64)}
    rate = 0.4 if optimizer == "sgd" else 0.05
    run = Descent(steps=400, learning_rate=rate, optimizer=optimizer).run
    found = run(start, lambda theta, i, rng: (theta["a"] - goal).square().sum(1), Rng.of(0, 2))["a"]
    torch.testing.assert_close(found, goal, atol=1e-2, rtol=0)
    assert not start["a"].any()
    assert not found.requires_grad


def test_descent_scales_projects_and_refuses():
    start = {"a": torch.zeros(2, 1), "b": torch.zeros(2, 1)}
    descent = Descent(steps=3, learning_rate=0.1, optimizer="sgd")

    def pull(theta, i, rng):
        return -(theta["a"] + theta["b"]).sum(1)

    found = descent.run(start, pull, Rng.of(0, 2), scales={"b": 0.5})
    torch.testing.assert_close(found["a"], torch.full((2, 1), 0.3))
    torch.testing.assert_close(found["b"], torch.full((2, 1), 0.15))
    kept = descent.run(start, pull, Rng.of(0, 2), project=lambda t: {k: v.clamp(max=0.2) for k, v in t.items()})
    torch.testing.assert_close(kept["a"], torch.full((2, 1), 0.2))
    with pytest.raises(InvalidInput, match="one loss for each of 2"):
        descent.run(start, lambda theta, i, rng: theta["a"].sum(), Rng.of(0, 2))
    with pytest.raises(InvalidInput, match="not finite"):
        descent.run(start, lambda theta, i, rng: theta["a"].sum(1) * math.inf, Rng.of(0, 2))


# Renderers


def test_crops_are_crops_and_projections_at_no_angle_are_means():
    theta = Crops().start(Rng.of(0, 3))
    views = Crops().render(theta, {"view": torch.tensor([0, 1, 1])}).x
    torch.testing.assert_close(views[0], theta["field"][0, :, :8, :8])
    torch.testing.assert_close(views[2], theta["field"][2, :, 4:, 4:])
    voxels = Projections(views=2).start(Rng.of(0, 3))
    both = [Projections(views=2).render(voxels, {"view": torch.full((3,), k)}).x for k in (0, 1)]
    torch.testing.assert_close(both[0], voxels["voxels"].mean(2))
    # a quarter turn about the vertical exchanges depth and width
    side = voxels["voxels"].mean(4).transpose(2, 3)
    assert min(float((both[1] - s).abs().max()) for s in (side, side.flip(3))) < 1e-5


@pytest.mark.parametrize("renderer", [Crops(), Projections(side=4), Voxels(**SMALL)], ids=lambda r: type(r).__name__)
def test_scenes_are_differentiable_and_independent(renderer):
    rng = Rng.of(0, 3)
    start = renderer.start(rng.at("s"))
    theta = {k: (v.double() + 0.1).requires_grad_() for k, v in start.items()}  # a field without matter has no scale
    camera = renderer.camera(rng.at("c"))
    whole = renderer.render(theta, camera)
    assert whole.x.dtype == F64
    one = renderer.render({k: v[1:2] for k, v in theta.items()}, {k: v[1:2] for k, v in camera.items()})
    torch.testing.assert_close(one.x, whole.x[1:2])
    torch.testing.assert_close(renderer.penalty(one, 0.0), renderer.penalty(whole, 0.0)[1:2])
    slopes = torch.autograd.grad(whole.x[1].square().sum(), list(theta.values()))
    assert all(bool(g[1].any()) and not bool(g[[0, 2]].any()) for g in slopes)
    again = renderer.start(rng.index(slice(1, 2)).at("s"))
    assert all(torch.equal(v, start[k][1:2]) for k, v in again.items())


@pytest.mark.parametrize("renderer", [Crops(), Projections(side=4)])
def test_linear_renderers_are_linear(renderer):
    a, b = (renderer.start(Rng.of(seed, 2)) for seed in (0, 1))
    camera = renderer.camera(Rng.of(2, 2))
    both = renderer.render({k: a[k] + 2 * b[k] for k in a}, camera).x
    apart = renderer.render(a, camera).x + 2 * renderer.render(b, camera).x
    torch.testing.assert_close(both, apart, atol=1e-6, rtol=1e-5)


def test_rays_look_at_the_origin_and_cross_the_box():
    eye = torch.tensor([[0.0, 0.0, 3.0]], dtype=F64)
    ray = rays(eye, torch.tensor([90.0], dtype=F64), 3)[0]
    torch.testing.assert_close(ray[4], torch.tensor([0.0, 0.0, -1.0], dtype=F64))
    assert ray[0, 0] < 0 < ray[2, 0]  # left and right
    assert ray[0, 1] > 0 > ray[6, 1]  # up and down
    torch.testing.assert_close(ray[5] / -ray[5, 2], torch.tensor([2 / 3, 0.0, -1.0], dtype=F64))
    enter, leave = box(eye, ray[None], 1.0)
    assert (float(enter[0, 4]), float(leave[0, 4])) == (2.0, 4.0)
    behind = box(eye, -ray[None], 1.0)
    assert float((behind[1] - behind[0])[0, 4]) <= 0
    torch.testing.assert_close(upper(torch.rand(50, 2), 1.5).norm(dim=1), torch.full((50,), 1.5))
    assert float(spiral(10, 1.5)[-1, 1]) == 0


def test_voxels_obey_beer_s_law_and_blend_the_background():
    """Constant density and colour: the pixel is ``b + (c - b)(1 - e^(-density length))``, to a step's length."""
    renderer = Voxels(**{**SMALL, "grid": 40, "pixels": 1}, radius=4.0)
    theta = {k: torch.full_like(v, 0.0, dtype=F64) for k, v in renderer.start(Rng.of(0, 1)).items()}
    theta["color"] += 2.0
    theta["background"] += 0.5
    camera = {"eye": torch.tensor([[-4.0, 0.0, 0.0]], dtype=F64), "degrees": torch.tensor([50.0], dtype=F64)}
    found = renderer.render(theta, camera)
    density = math.log1p(math.exp(-1.0))
    # at the outermost half voxels the interpolation fades to the outside's nothing
    seen = 1 - math.exp(-density * 2.0)
    assert abs(float(found.x) - (0.5 + 1.5 * seen)) < 3 * density / 40 * 1.5
    theta["density"] -= 50.0
    empty = renderer.render(theta, camera)
    assert abs(float(empty.x) - 0.5) < 1e-3
    assert float(empty.extras["emptiness"]) < float(found.extras["emptiness"])
    torch.testing.assert_close(empty.extras["depth"], torch.full((1, 1, 1), 10.0, dtype=F64), atol=0.2, rtol=0)


def test_the_penalty_is_the_published_one():
    renderer = Voxels(**SMALL)
    rendering = renderer.render(renderer.start(Rng.of(0, 2)), renderer.camera(Rng.of(1, 2)))
    early, late = renderer.penalty(rendering, 0.49), renderer.penalty(rendering, 0.5)
    torch.testing.assert_close(early, 1e4 * rendering.extras["emptiness"])
    torch.testing.assert_close(late, 20 * early)


def test_directions_of_cameras():
    eyes = torch.tensor([[-1.5, 0, 0], [0, 0, 1.5], [1.5, 0, 0], [0, 0, -1.5], [-0.3, 1.4, 0]])
    names = [Voxels.directions[i] for i in Voxels().direction({"eye": eyes})]
    assert names == ["front", "side", "back", "side", "overhead"]


# The task


def test_views_go_to_the_mode_of_gaussian_data():
    """Of N(0.5, 0.04 I) every noise level's score vanishes at the mean; left is the steps' noise."""
    found = lift().run(pictures(gaussian()), {}, Rng.of(0, 2))
    views = found.states["views"]
    assert views.shape == (2, 2, 1, 8, 8)
    assert abs(float(views.mean()) - 0.5) < 0.05
    assert found.metrics["evaluations"] == 100


def test_scenes_do_not_depend_on_their_neighbours_nor_on_the_caller_s_grad_mode():
    system, task = pictures(two()), lift(descent=Descent(steps=5))
    whole = task.run(system, {}, Rng.of(0, 3)).states["theta"]["field"]
    with torch.no_grad():
        few = task.run(system, {}, Rng.of(0, 3).index(slice(1, 2))).states["theta"]["field"]
    torch.testing.assert_close(few, whole[1:2])


def test_guided_conditions_and_directions_reach_the_denoiser():
    system = pictures(two(), guidance=Cfg(scale=2.0))
    task = lift(descent=Descent(steps=60, learning_rate=0.05))
    found = task.run(system, {"cond": {"label": torch.tensor([0, 1])}}, Rng.of(0, 2))
    assert [round(float(v)) for v in found.states["views"].mean((1, 2, 3, 4)) * 1.2] == [-1, 1]
    assert found.metrics["evaluations"] == 120
    field = Voxels(**{**SMALL, "pixels": 8})
    told = {name: {"label": torch.full((2,), i % 2)} for i, name in enumerate(field.directions)}
    task = lift(renderer=field, descent=Descent(steps=2), tour=3)
    found = task.run(pictures(two(), guidance=Cfg(scale=2.0)), {"views": told}, Rng.of(0, 2))
    assert found.states["views"].shape == (2, 3, 1, 8, 8)


def test_lifting_starts_where_it_is_told():
    start = {"field": torch.full((1, 1, 12, 12), 0.5)}
    task = lift(descent=Descent(steps=1, learning_rate=1e-6))
    found = task.run(pictures(two()), {"start": start}, Rng.of(0, 1))
    torch.testing.assert_close(found.states["theta"]["field"], start["field"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"prompt": "a burger"}, "prompt"),
        ({"start": {"field": torch.zeros(2, 1, 9, 9)}}, "start"),
        ({"cond": {"label": torch.zeros(3, dtype=torch.long)}}, "3 rows for 2"),
        ({"cond": {"label": torch.tensor([0, 5])}}, "5"),
        ({"views": {"front": {}}}, "none"),
        ({"views": {}, "cond": {}}, "not both"),
    ],
)
def test_wrong_inputs_are_refused(inputs, words):
    with pytest.raises(InvalidInput, match=words):
        lift().run(pictures(two()), inputs, Rng.of(0, 2))


def test_views_must_be_states():
    with pytest.raises(InvalidInput, match="8, 8"):
        lift().run(pictures(two(49), shape=(1, 7, 7)), {}, Rng.of(0, 2))
    with pytest.raises(SpecError, match="offsets"):
        Crops(offsets=((0, 5),))
