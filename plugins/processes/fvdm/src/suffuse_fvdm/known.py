"""Videos of which some frames are known."""

from __future__ import annotations

from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean, Prediction
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.parts import Chain
from suffuse.rng import Rng
from suffuse.state import State, promote, same_form
from suffuse.system import System
from suffuse_fvdm.frames import frames_of, per_frame

__all__ = ["KnownFrames", "long_video"]


def _indices(frames: tuple[int, ...]) -> str | None:
    good = frames and all(isinstance(f, int) and not isinstance(f, bool) for f in frames)
    return None if good else f"expected at least one index of a frame, got {frames!r}"


@attrs.frozen(kw_only=True)
class KnownFrames(Guidance):
    """Known frames are given to the model as they are, at time 0; the others stay at their own time.

    Liu et al., 2024, arXiv:2410.03160: with ``t_f = 0`` for known frames, a model of vectors of times
    samples the others from their conditional law. ``frames`` are (0,) for image to video, (0, -1) for interpolation,
    the first c for the continuation of a clip (``long_video``). States are ``(B, F, *frame)``.

    Only the denoiser is decorated. Its answer belongs to the sampler's own ``(x_t, t)``, with x_0 at known frames
    being what is known; so any sampler of a Gaussian process works, multistep ones too, and returns known frames
    exactly where it ends at t = 0. What the sampler holds in these frames on its way never reaches the model.

    The condition's entry ``known`` ``(B, F, *frame)`` holds states (``codec.encode`` of a video); what it holds in the
    other frames does not matter. ``time`` is what the model is told for known frames, for one that does not know 0: 1/T
    is the first step of a chain of T, which the released code uses, and EDM's preconditioning needs it above 0.

    Raises ``SpecError`` for a frame that the space does not have, ``InvalidInput`` without ``known`` or for another
    shape, ``Unsupported`` for a prediction that is no mean.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    reads: ClassVar[frozenset[str]] = frozenset({"known"})
    space: ClassVar[str] = "x0"

    frames: tuple[int, ...] = setting((0,), "which frames are known; -1 is the last", check=_indices)
    time: float = setting(0.0, "the time that the model is told for them", ge=0, lt=1)

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """``x0 <- known`` in known frames, the model's with them at time 0 in the others."""
        n = frames_of(system.space.like(1))
        if wrong := [f for f in self.frames if not -n <= f < n]:
            raise SpecError(f"frames must lie in [-{n}, {n}) for videos of {n} frames, got {wrong}", path="frames")
        given = torch.zeros(n, dtype=torch.bool)
        given[list(self.frames)] = True

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            if "known" not in cond:
                raise InvalidInput(f"known frames are read from the condition's entry known, got {sorted(cond)}")
            known = cond["known"]
            same_form(known, x_t, "the condition's entry known")
            assert isinstance(x_t, Tensor)
            x = promote(x_t)
            known = known.to(x)
            times, aims = (
                u if u is None else torch.where(given.to(u.device), self.time, per_frame(u, x)) for u in (t, s)
            )
            assert times is not None
            at = given.to(x.device).view(n, *[1] * (x.ndim - 2))
            prediction = inner(torch.where(at, known, x), times, cond, s=aims, rng=rng)
            if not isinstance(prediction, Mean):
                raise Unsupported(f"known frames need a model that predicts means, got '{prediction.name}'")
            x0 = prediction.x0
            assert isinstance(x0, Tensor)
            return attrs.evolve(prediction.with_x0(torch.where(at, known, x0)), x_t=x_t, t=t)

        return denoise


def long_video(
    system: System,
    *,
    clips: int,
    overlap: int,
    n: int | None = None,
    cond: Condition | None = None,
    seed: int = 0,
) -> Tensor:
    """A video of many clips, each of which continues the last ``overlap`` frames of the one before.

    Arguments as of ``System.sample``; clip i has seed ``seed + i``. The result, as data, is
    ``(B, F + (clips - 1)(F - overlap), *frame)``. Each clip sees ``overlap`` frames of the past and no more.
    Liu et al., 2024, arXiv:2410.03160. Other guidance of the system acts as before.

    Raises ``InvalidInput`` unless ``1 <= overlap < F`` and ``clips >= 1``.
    """
    frames = frames_of(system.space.like(1))
    if not 1 <= overlap < frames or clips < 1:
        raise InvalidInput(
            f"expected clips >= 1 and an overlap from 1 to {frames - 1}, got clips={clips}, overlap={overlap}"
        )
    cond = Condition() if cond is None else cond
    known = KnownFrames(frames=tuple(range(overlap)))
    before = system.guidance
    after = attrs.evolve(system, guidance=known if before is None else Chain(parts=(before, known)))
    clip = system.sample(n, cond=cond, seed=seed)
    assert isinstance(clip, Tensor)
    video = [clip]
    for i in range(1, clips):
        state = system.codec.encode(clip)
        assert isinstance(state, Tensor)
        past = torch.cat([state[:, -overlap:], torch.zeros_like(state[:, overlap:])], dim=1)
        clip = after.sample(cond=cond.also(known=past), seed=seed + i)
        assert isinstance(clip, Tensor)
        video.append(clip[:, overlap:])
    return torch.cat(video, dim=1)
