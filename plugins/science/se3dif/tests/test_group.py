import math

import pytest
import torch
from scipy.spatial.transform import Rotation
from suffuse_se3dif import se3, so3
from suffuse_se3dif.densities import heat_kernel, log_branches, radial_score
from suffuse_se3dif.poses import PoseNormal, Poses, UniformPoses, leaves_of, move, tangent_noise

from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.testing.statistics import covariance_within, mean_within

F64 = torch.float64
ANGLES = (0.0, 1e-12, 1e-7, 1e-3, 0.0999, 0.1001, 1.0, 3.0, math.pi - 1e-3, math.pi - 1e-8)


def axes(n=6):
    v = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    return torch.cat([v / v.norm(dim=1, keepdim=True), torch.eye(3, dtype=F64)])


@pytest.mark.parametrize("angle", ANGLES)
def test_log_inverts_exp_from_zero_to_pi(angle):
    w = angle * axes()
    assert torch.allclose(so3.log(so3.exp(w)), w, rtol=1e-13, atol=2e-15)
    assert torch.allclose(so3.exp(w), torch.from_numpy(Rotation.from_rotvec(w.numpy()).as_matrix()), atol=5e-16, rtol=0)
    u = torch.randn(w.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    for got, expected in zip(se3.log(*se3.exp(w, u)), (w, u), strict=True):
        assert torch.allclose(got, expected, rtol=1e-13, atol=1e-13)


def test_half_turns_have_one_of_two_logarithms():
    R = so3.exp(math.pi * axes())
    w = so3.log(R)
    assert torch.allclose(w.norm(dim=1), torch.full((9,), math.pi, dtype=F64), atol=1e-14)
    assert torch.allclose(so3.exp(w), R, atol=1e-14)


@pytest.mark.parametrize("angle", ANGLES)
def test_jacobians_are_those_of_the_exponential(angle):
    """``exp(w + h d) exp(w)^T`` by central differences: error h^2/6 and rounding/h, both under 1e-9."""
    w, h = angle * axes(), 1e-5
    J = so3.left_jacobian(w)
    for i in range(3):
        d = h * torch.eye(3, dtype=F64)[i]
        slope = so3.vee((so3.exp(w + d) - so3.exp(w - d)) @ so3.exp(w).mT) / 2 / (2 * h)
        assert torch.allclose(slope, J[..., i], atol=1e-9)
    assert torch.allclose(J @ so3.left_jacobian_inverse(w), torch.eye(3, dtype=F64).expand(9, 3, 3), atol=1e-13)
    assert torch.allclose(so3.left_jacobian(-w), so3.exp(-w) @ J, atol=1e-14)  # J_r = Ad^{-1} J_l


def test_exp_and_log_have_finite_second_derivatives_at_zero():
    w = torch.zeros(2, 3, dtype=F64, requires_grad=True)
    y = so3.log(so3.exp(w)) ** 2
    (first,) = torch.autograd.grad(y.sum(), w, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), w)
    assert torch.equal(first, torch.zeros_like(w))
    assert torch.allclose(second, torch.full_like(w, 2.0))


def test_se3_is_a_group_and_its_exponential_a_screw_motion():
    w, u = (torch.randn(5, 3, generator=torch.Generator().manual_seed(k), dtype=F64) for k in (0, 1))
    x = se3.exp(w, u)
    one = se3.compose(*x, *se3.inverse(*x))
    assert torch.allclose(one[0], torch.eye(3, dtype=F64).expand(5, 3, 3), atol=1e-15)
    assert one[1].abs().max() < 1e-14
    half = se3.exp(w / 2, u / 2)
    for a, b in zip(se3.compose(*half, *half), x, strict=True):
        assert torch.allclose(a, b, atol=1e-14)
    k = torch.zeros(5, 4, 4, dtype=F64)
    k[:, :3, :3], k[:, :3, 3] = so3.hat(w), u
    assert torch.allclose(torch.linalg.matrix_exp(k)[:, :3, 3], x[1], atol=1e-13)


def test_moves_on_both_sides_and_the_invariance_of_the_logarithm():
    space = Poses()
    x, y, g = (UniformPoses(space.like(5, dtype=F64)).sample(Rng.of(k, 5)) for k in range(3))
    v = space.log(x, y)
    left = so3.exp((x["R"] @ v["R"][..., None])[..., 0]) @ x["R"]
    assert torch.allclose(left, y["R"], atol=1e-14)
    moved = [{"R": g["R"] @ h["R"], "p": h["p"] + g["p"]} for h in (x, y)]
    assert torch.allclose(space.log(*moved)["R"], v["R"], atol=1e-13)  # left-invariant
    turned = [{"R": h["R"] @ g["R"], "p": h["p"]} for h in (x, y)]
    assert torch.allclose(space.log(*turned)["R"].norm(dim=1), v["R"].norm(dim=1), atol=1e-13)  # bi-invariant distance
    bent = {"R": x["R"] + 1e-3 * torch.ones(3, 3), "p": x["p"]}
    near = space.project(bent)
    space.check(near)
    assert (near["R"] - x["R"]).abs().max() < 2e-3


def test_wrapped_tangents_are_logarithms():
    w = 4 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    assert torch.allclose(so3.wrap(w), so3.log(so3.exp(w)), atol=1e-12)
    tiny = 1e-30 * w
    assert torch.equal(so3.wrap(tiny), tiny)


def test_the_law_of_the_noise_is_its_density():
    """Importance sampling from uniform rotations: densities integrate to 1 and give the drawn noise's mean angle."""
    n, sigma = 20_000, 0.7
    like = Poses().like(n, dtype=F64)
    zero = {"R": torch.zeros(n, 3, dtype=F64), "p": torch.zeros(n, 3, dtype=F64)}
    law = PoseNormal(like, zero, torch.tensor(sigma, dtype=F64))
    R, _ = leaves_of(UniformPoses(like).sample(Rng.of(0, n)))
    at_center = 3 * math.log(sigma) + 1.5 * math.log(2 * math.pi)
    density = (law.log_prob({"R": R, "p": like["p"]}) + at_center).exp() * 8 * math.pi**2
    assert mean_within(density, 1.0)
    angle = so3.log(R).norm(dim=1)
    assert torch.allclose(density.log() - math.log(8 * math.pi**2), log_branches(angle, sigma, 2), atol=1e-9)
    drawn = so3.log(law.sample(Rng.of(1, n))["R"]).norm(dim=1)
    assert mean_within(drawn - density * angle, 0.0)


def test_a_normal_with_a_mean_is_one_about_the_moved_pose_for_small_deviations():
    n = 20_000
    x = UniformPoses(Poses().like(1, dtype=F64)).sample(Rng.of(0, 1))
    x = {k: v.repeat(n, *[1] * (v.ndim - 1)) for k, v in x.items()}
    law = PoseNormal(x, {k: torch.full((n, 3), 0.1, dtype=F64) for k in x}, 0.05)
    v = Poses().log(x, law.sample(Rng.of(2, n)))
    both = torch.cat([v["R"], v["p"]], dim=1)
    assert mean_within(both, torch.full((6,), 0.1, dtype=F64))
    assert covariance_within(both, 0.05**2 * torch.eye(6, dtype=F64))


def test_scores_of_the_three_laws_differ_by_known_terms():
    """Noise: ``-a/s^2 + 2/a - cot(a/2)``, heat: half of the difference, published target: none of it."""
    a, s = torch.linspace(0.1, 1.5, 20, dtype=F64), 0.25  # the other branches weigh less than e^{-2 pi (pi - 1.5)/s^2}
    extra = 2 / a - 1 / (a / 2).tan()
    assert torch.allclose(radial_score(a, s, 2), -a / s**2 + extra, atol=1e-9)
    assert torch.allclose(radial_score(a, s, 1), -a / s**2 + extra / 2, atol=1e-9)
    h = 1e-5
    slope = (heat_kernel(a + h, s).log() - heat_kernel(a - h, s).log()) / (2 * h)
    near = a < 0.8  # where the series has digits left
    assert torch.allclose(slope[near], radial_score(a, s, 1)[near], atol=1e-5)
    assert extra.max() < 0.27  # next to -a/s^2 = -24


def test_exponentiated_noise_is_no_semigroup_and_the_heat_kernel_is():
    """Characters of spin 1, ``1 + 2 cos(angle)``: means multiply under convolution, e^{-s^2} for the heat kernel."""
    angle = (torch.arange(4000, dtype=F64) + 0.5) * math.pi / 4000
    volume = 8 * math.pi * (1 - angle.cos()) * math.pi / 4000

    def mean(density):
        return float((density * volume * (1 + 2 * angle.cos())).sum()) / 3

    s = 0.6
    assert mean(heat_kernel(angle, s)) ** 2 == pytest.approx(mean(heat_kernel(angle, s * 2**0.5)), abs=1e-12)
    once, twice = (mean(log_branches(angle, w, 2).exp()) for w in (s * 2**0.5, s))
    assert once == pytest.approx((1 + 2 * (1 - 2 * s**2) * math.exp(-(s**2))) / 3, abs=1e-12)
    assert abs(twice**2 - once) > 0.005


def test_wrong_states_are_refused():
    space = Poses()
    with pytest.raises(InvalidInput, match="leaves R and p"):
        space.log(torch.zeros(2, 6), torch.zeros(2, 6))
    like = space.like(2)
    with pytest.raises(InvalidInput, match="rotations"):
        space.check({"R": 2 * like["R"], "p": like["p"]})
    with pytest.raises(InvalidInput, match="determinant"):
        space.check({"R": -like["R"], "p": like["p"]})
    assert leaves_of(move({k: v.half() for k, v in like.items()}, tangent_noise(like, Rng.of(0, 2))))[0].dtype == (
        torch.float32
    )
