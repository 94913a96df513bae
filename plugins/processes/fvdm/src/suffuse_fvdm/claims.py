"""What the paper asserts, on Gaussian videos whose denoiser is known."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.linear import Linear
from suffuse_digits.replace import Replace
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Sampler
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import Uniform
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.fitting import seeded
from suffuse.testing.stand_ins import Circle
from suffuse_fvdm.gaussian import GaussianVideos, covariance
from suffuse_fvdm.known import KnownFrames
from suffuse_fvdm.latte import Latte
from suffuse_fvdm.sampler import Frames

__all__ = ["AnyPath", "KnownFrame", "OneTime"]

FRAMES = 16


@attrs.frozen(kw_only=True)
class OneTime(Claim):
    """The vector of times contains the ordinary model."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "with equal times in all frames the forward process, the network and the sampler are those of one time "
        "(arXiv:2410.03160): in float64 they agree to 1e-12"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest difference of states, outputs and samples. Sabotage: one frame a thousandth later."""
        rng, process = Rng.of(seed, 4), Linear()
        x = rng.at("x").normal(torch.empty(4, 3, 1, 2, 2, dtype=torch.float64))
        t = 1 - 0.9 * rng.at("t").uniform(torch.empty(4, dtype=torch.float64))
        vector = t[:, None].repeat(1, 3)
        vector[:, 1] -= 1e-3 * sabotage
        with seeded(seed):
            net = Latte(frames=3, channels=1, size=(2, 2), patch=1, width=16, depth=2, heads=2).double()
            for p in net.parameters():  # its zeros would hide what it depends on
                torch.nn.init.normal_(p, std=0.2)
        with torch.no_grad():
            outputs = [net(x, 1000 * u, Condition()) for u in (t, vector)]
        states = [process.corrupt(x, u, rng=rng).x_t for u in (t, vector)]
        ends = [_videos(s, 3, seed=seed, times=u) for s, u in ((Ddim(), _grid(None)), (Frames(), _grid(3, sabotage)))]
        pairs = {"forward process": states, "network": outputs, "sampler": ends}
        numbers = {name: float((a - b).abs().max()) for name, (a, b) in pairs.items()}
        return Measure(effect=1e-12 - max(numbers.values()), numbers=numbers)


@attrs.frozen(kw_only=True)
class AnyPath(Claim):
    """All paths lead to the data."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "every path of vectors of times that falls in each frame samples the law of the videos, whether all frames go "
        "together, one is ahead of the next, or one follows another: the covariance converges to that of the data at "
        "order 1 (arXiv:2410.03160)"
    )
    seeds: ClassVar[int] = 3

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """How far within 0.1 of 1 the orders are; the sampler is linear here, so the identity tells its covariance.

        The correlation length is random. Sabotage: the model is told one time, the mean of the frames'.
        """
        length = 2 + 2 * float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
        start, k, orders = torch.eye(6, dtype=torch.float64), covariance(6, length), {}
        for stagger in (0.5, 1.0):
            errors = []
            for steps in (40, 80, 160):
                sampler = Frames(stagger=stagger, steps=int(steps * (1 + 5 * stagger)))
                system = _system(GaussianVideos(frames=6, length=length), sampler)
                if sabotage:
                    system = attrs.evolve(system, guidance=_OneLevel())
                found = system.sample(start=start, dtype=torch.float64)
                assert isinstance(found, Tensor)
                errors.append(float((found.mT @ found - k).norm() / k.norm()))
            coarse, fine = (math.log2(a / b) for a, b in pairwise(errors))
            orders[f"order, stagger {stagger:g}"] = 2 * fine - coarse  # extrapolated: free of the bias c/N
            orders[f"error, stagger {stagger:g}"] = errors[-1]
        worst = max(abs(v - 1) for name, v in orders.items() if name.startswith("order"))
        return Measure(effect=0.1 - worst, numbers=orders)


@attrs.frozen(kw_only=True)
class KnownFrame(Claim):
    """Zero-shot image to video."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "videos of 16 frames that start from a given frame follow the conditional law where the model takes a time for "
        "each frame, and drift where a model of one time has the known frame put back: at 100 evaluations of exact "
        "models the largest error of a frame's mean is ten times smaller, and the jump to the next frame is within a "
        "tenth of the true one (arXiv:2410.03160)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """``min(log10(ratio of errors) - 1, 0.1 - relative error of the jump)`` of 1000 videos from the frame 2.

        Beside it, replacement with each step taken five times (RePaint), at 96 evaluations. Sabotage: one time.
        """
        n = 1000
        known = torch.zeros(n, FRAMES, dtype=torch.float64)
        known[:, 0] = 2.0
        arms: dict[str, tuple[Guidance, Sampler]] = {
            "replacement": (Replace(), Ddim(steps=100)),
            "ours": (Replace() if sabotage else KnownFrames(), Ddim(steps=100)),
        }
        if not sabotage:
            arms["resampling"] = (Replace(resamplings=5), Ddim(steps=20, eta=1.0))
        k = covariance(FRAMES)
        mean = 2 * k[1:, 0] / k[0, 0]
        spread = k[1:, 1:] - torch.outer(k[1:, 0], k[1:, 0]) / k[0, 0]
        jump = _folded(float(mean[0] - 2), float(spread[0, 0]))
        numbers = {"jump, true": jump}
        mask = torch.zeros_like(known, dtype=torch.bool)
        mask[:, 0] = True
        for name, (guidance, sampler) in arms.items():
            system = attrs.evolve(_system(GaussianVideos(frames=FRAMES), sampler), guidance=guidance)
            cond = Condition(known=known, **({} if isinstance(guidance, KnownFrames) else {"mask": mask}))
            x = system.sample(cond=cond, seed=seed, dtype=torch.float64)
            assert isinstance(x, Tensor)
            numbers[f"error of the mean, {name}"] = float((x[:, 1:].mean(0) - mean).abs().max())
            numbers[f"error of the covariance, {name}"] = float((x[:, 1:].T.cov() - spread).norm() / spread.norm())
            numbers[f"jump, {name}"] = float((x[:, 1] - x[:, 0]).abs().mean())
        gain = math.log10(numbers["error of the mean, replacement"] / numbers["error of the mean, ours"]) - 1
        return Measure(effect=min(gain, 0.1 - abs(numbers["jump, ours"] / jump - 1)), numbers=numbers)


@attrs.frozen(kw_only=True)
class _OneLevel(Guidance):
    """A model of vectors of times that is told the mean of the times."""

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The inner one at equal times."""

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            level = t.mean(-1, keepdim=True).expand(t.shape).contiguous()
            return attrs.evolve(inner(x_t, level, cond, s=s, rng=rng), t=t)

        return denoise


def _system(model: GaussianVideos, sampler: Sampler, process: Gaussian | None = None) -> System:
    return System(model=model, process=process or Circle(), space=Euclidean(shape=(model.frames,)), sampler=sampler)


def _grid(frames: int | None, late: bool = False) -> Tensor:
    """Ten steps from 0.99 to 0, for all frames together or each."""
    times = torch.cat([Uniform(start=0.99).times(Circle(), 10), torch.zeros(1, dtype=torch.float64)])
    if frames is None:
        return times
    each = times[:, None, None].repeat(1, 4, frames)
    each[1:-1, :, 1] -= 1e-3 * late
    return each


def _videos(sampler: Sampler, frames: int, *, seed: int, times: Tensor) -> Tensor:
    x = _system(GaussianVideos(frames=frames), sampler).sample(4, seed=seed, times=times, dtype=torch.float64)
    assert isinstance(x, Tensor)
    return x


def _folded(mean: float, variance: float) -> float:
    """``E|N(mean, variance)|``."""
    std = math.sqrt(variance)
    return std * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * variance)) + mean * math.erf(
        mean / (std * math.sqrt(2))
    )
