import attrs
import pytest
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.ancestral import Ancestral
from suffuse_dpm_solver_pp.multistep import Multistep
from suffuse_fvdm.gaussian import GaussianVideos, covariance
from suffuse_fvdm.known import KnownFrames, long_video
from suffuse_fvdm.sampler import Frames

from suffuse.contracts.condition import Condition
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError
from suffuse.parts import Chain, Clip, Uniform
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.stand_ins import Circle
from suffuse.testing.statistics import slope

F64 = torch.float64
K = covariance(6)


def videos(sampler=None, guidance=None, shape=(6,)):
    return System(
        model=GaussianVideos(frames=6),
        process=Circle(),
        space=Euclidean(shape=shape),
        sampler=sampler or Ddim(steps=20),
        guidance=guidance,
    )


def conditional(known):
    """Mean map and covariance of the other frames."""
    other = [f for f in range(6) if f not in known]
    gain = K[other][:, known] @ torch.linalg.inv(K[known][:, known])
    return other, gain, K[other][:, other] - gain @ K[known][:, other]


@pytest.mark.parametrize("frames", [(0,), (0, -1), (0, 1, 2), (3,)])
def test_the_walk_converges_to_the_conditional_law_at_order_one(frames):
    # The sampler is affine in its start, so the zero start tells the mean and the unit vectors the covariance.
    known = sorted(f % 6 for f in frames)
    other, gain, spread = conditional(known)
    clip = Rng.of(1, 1).normal(torch.empty(1, 6, dtype=F64)).repeat(7, 1)
    start = torch.cat([torch.zeros(1, 6, dtype=F64), torch.eye(6, dtype=F64)])
    counts, errors = [100, 200, 400], []
    for steps in counts:
        system = videos(Ddim(steps=steps), KnownFrames(frames=frames))
        x = system.sample(cond=Condition(known=clip), start=start, dtype=F64)
        assert torch.equal(x[:, known], clip[:, known])
        linear = x[1:] - x[:1]
        mean_error = x[0, other] - gain @ clip[0, known]
        covariance_error = linear[:, other].mT @ linear[:, other] - spread
        errors.append(float(mean_error.norm() + covariance_error.norm()))
    assert abs(slope(counts, errors).value - 1) < 0.1


@pytest.mark.parametrize(
    "sampler", [Ddim(steps=8), Ddim(steps=8, eta=1.0), Ancestral(steps=8), Multistep(steps=8), Frames(steps=8)]
)
def test_known_frames_come_back_whatever_the_sampler(sampler):
    sampler = attrs.evolve(sampler, grid=Uniform(start=0.98))
    clip = Rng.of(1, 4).normal(torch.empty(4, 6, 2, dtype=F64))
    cond = Condition(known=clip)
    x = videos(sampler, KnownFrames(frames=(0, -2)), shape=(6, 2)).sample(cond=cond, dtype=F64)
    torch.testing.assert_close(x[:, [0, 4]], clip[:, [0, 4]], rtol=0, atol=1e-12)
    assert not torch.allclose(x[:, [1, 5]], clip[:, [1, 5]], atol=1e-3)


def test_unknown_entries_of_known_and_the_state_in_known_frames_are_not_read():
    system = videos(guidance=KnownFrames(frames=(0, -1)))
    clip = Rng.of(1, 3).normal(torch.empty(3, 6, dtype=F64))
    other = clip.clone()
    other[:, 1:-1] = 9.0
    one, two = (system.sample(cond=Condition(known=c), dtype=F64) for c in (clip, other))
    assert torch.equal(one, two)
    start = Rng.of(2, 3).normal(clip)
    moved = start.clone()
    moved[:, 0] += 5.0
    one, two = (system.sample(cond=Condition(known=clip), start=x, dtype=F64) for x in (start, moved))
    assert torch.equal(one, two)


def test_the_prediction_belongs_to_the_samplers_state():
    system, rng = videos(guidance=KnownFrames()), Rng.of(0, 4)
    x, clip = (rng.at(tag).normal(torch.empty(4, 6, dtype=F64)) for tag in ("x", "clip"))
    t = torch.tensor([0.2, 0.5, 0.7, 0.9], dtype=F64)
    p = system.denoise(x, t, Condition(known=clip))
    assert p.x_t is x
    assert p.t is t
    assert torch.equal(p.x0[:, 0], clip[:, 0])
    alpha, sigma = (w[:, None] for w in Circle().scalars(t))
    torch.testing.assert_close(alpha * p.x0 + sigma * p.eps, x, rtol=0, atol=1e-12)


def test_another_time_is_told_and_single_precision_is_kept():
    told = []

    def inner(x_t, t, cond, *, s=None, rng=None):
        told.append((t, s))
        return GaussianVideos(frames=6)(x_t, t, Condition(), process=Circle())

    half = torch.tensor(0.5, dtype=F64)
    denoise = KnownFrames(frames=(0, -1), time=0.001).denoiser(inner, videos())
    p = denoise(torch.ones(2, 6), half, Condition(known=torch.ones(2, 6, dtype=F64)), s=half / 2)
    row = torch.tensor([0.001, 0.5, 0.5, 0.5, 0.5, 0.001], dtype=F64)
    assert torch.equal(told[0][0], row.repeat(2, 1))
    assert torch.equal(told[0][1][:, 1:-1], row[1:-1].repeat(2, 1) / 2)
    assert p.x0.dtype == torch.float32


def test_composes_with_other_guidance():
    clip = Rng.of(1, 3).normal(torch.empty(3, 6)).clamp(-1, 1)
    system = videos(guidance=Chain(parts=(Clip(), KnownFrames())))
    x = system.sample(cond=Condition(known=clip))
    assert torch.equal(x[:, 0], clip[:, 0])
    assert float(x.abs().max()) <= 1


def test_long_video_continues_each_clip():
    system = videos()
    x = long_video(system, clips=3, overlap=2, n=4, seed=5)
    assert x.shape == (4, 14)
    assert torch.equal(x[:, :6], system.sample(4, seed=5))
    past = torch.cat([x[:, 4:6], torch.zeros(4, 4)], dim=1)
    again = attrs.evolve(system, guidance=KnownFrames(frames=(0, 1))).sample(cond=Condition(known=past), seed=6)
    assert torch.equal(x[:, 6:10], again[:, 2:])


def test_bad_input():
    with pytest.raises(SpecError, match=r"frames.*at least one"):
        KnownFrames(frames=())
    with pytest.raises(SpecError, match=r"\[-6, 6\).*\[6\]"):
        _ = videos(guidance=KnownFrames(frames=(0, 6))).denoise
    with pytest.raises(InvalidInput, match="known"):
        videos(guidance=KnownFrames()).sample(2)
    with pytest.raises(InvalidInput, match=r"known.*\(2, 6\).*\(2, 5\)"):
        videos(guidance=KnownFrames()).sample(cond=Condition(known=torch.zeros(2, 5)))
    with pytest.raises(InvalidInput, match="overlap=6"):
        long_video(videos(), clips=2, overlap=6, n=1)
