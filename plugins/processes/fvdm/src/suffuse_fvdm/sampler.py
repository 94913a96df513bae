"""The sampler: every frame on its own way from noise to data."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Law
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, expand, promote
from suffuse.system import System
from suffuse_fvdm.frames import per_frame

__all__ = ["Frames", "Moving"]


@attrs.frozen(eq=False)
class Moving(Law):
    """``N(mean, std^2)`` in the frames whose ``std`` is not 0; the others stand at the mean.

    ``log_prob`` is the density of the frames that move.
    """

    mean: Tensor
    std: Tensor  # (), (B,) or (B, F)

    def sample(self, rng: Rng) -> State:
        """``mean + std z``."""
        return combine(1.0, self.mean, self.std, rng.normal(promote(self.mean)))

    def log_prob(self, x: State) -> Tensor:
        """Differentiable in ``mean`` and x."""
        assert isinstance(x, Tensor)
        still = self.std == 0
        z = combine(1.0, x, -1.0, self.mean)
        scale, moves = (expand(w, self.mean) for w in (torch.where(still, 1.0, self.std), 1.0 - still.double()))
        assert isinstance(z, Tensor)
        logs = -0.5 * (z / scale) ** 2 - torch.as_tensor(scale).log() - 0.5 * math.log(2 * math.pi)
        return (moves * logs).flatten(1).sum(1)


@attrs.frozen(kw_only=True)
class Frames(Sampler):
    """DDIM, or at eta = 1 DDPM, with a time for each frame.

    ``x_s[f] = alpha_s x0[f] + sqrt(sigma_s^2 - c^2) eps[f] + c z`` with frame f's own t and s, and
    ``c = eta sigma_s sqrt(1 - SNR_t/SNR_s)``; x0 and eps are those of a model that is told all times at once. Frames
    with ``s = t`` stay as they are. Liu et al., 2024, arXiv:2410.03160; the update is that of
    Song et al., Denoising Diffusion Implicit Models, 2021, arXiv:2010.02502, equations 12 and 16.

    The grid's time u tells all frames' times: ``t_f(u) = clip((1 + d (F - 1)) u - d (F - 1 - f), 0, 1)`` with
    d = ``stagger``. At 0 all frames go together; between 0 and 1 earlier frames are ahead; from 1 on each frame starts
    when the one before has arrived. Frame f then takes about ``steps / (1 + d (F - 1))`` of the steps. Any other path
    is a tensor ``times`` ``(steps + 1, B, F)``, falling in each frame, for ``system.sample``, which takes it as it is.

    At eta > 0 the noise is of the stream ``noise``; it is not drawn where no frame needs any. Raises ``Unsupported`` at
    eta > 0 where a frame's time rises or ``c > sigma_s`` (eta > 1 on a long step), and where x0 or eps does not follow
    from the prediction.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})
    order: ClassVar[int | None] = 1

    stagger: float = setting(0.0, "d, how far a frame is ahead of the next: 0 not at all, 1 all the way", ge=0)
    eta: float = setting(0.0, "noise, in standard deviations of the posterior: 0 is the ODE, 1 is ancestral", ge=0)

    @property
    def gives(self) -> frozenset[str]:
        """``stochastic`` at eta > 0."""
        return frozenset({"stochastic"} if self.eta else ())

    def path(self, u: Tensor, x: State) -> Tensor:
        """The times of the frames at the grid's time u: ``(B, F)``, or u itself where all go together."""
        if u.ndim == 2 or not self.stagger:
            return u
        u = per_frame(u, x)
        waits = self.stagger * torch.arange(u.shape[1] - 1, -1, -1, dtype=u.dtype, device=u.device)
        return ((1 + waits[0]) * u - waits).clamp(0, 1)

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """From t to s: ``()`` or ``(B,)``, through ``path``, or times of the frames ``(B, F)``."""
        process = system.process
        if not isinstance(process, Gaussian):
            raise Unsupported(f"{type(self).__name__} needs a Gaussian process, got {type(process).__name__}")
        t, s = self.path(t, carry.x), self.path(s, carry.x)
        still = s == t
        alpha_s, sigma_s = process.scalars(s)
        share = self._share(process, t, s) if self.eta else torch.zeros_like(sigma_s)
        prediction = system.denoise(carry.x, t, carry.cond, s=s, rng=rng.at("model"))
        if not isinstance(prediction, Mean):
            raise Unsupported(f"{type(self).__name__} needs a model that predicts means, got '{prediction.name}'")
        read, waits = prediction, bool(still.any())
        if waits:
            # Neither x0 at no signal nor eps at no noise need follow. Of v both do, and here nothing is asked of them.
            alpha, sigma = process.scalars(t)
            mix = [torch.where(still, v, w) for v, w in zip((-sigma, alpha), prediction.mix, strict=True)]
            read = attrs.evolve(prediction, mix=(mix[0], mix[1]))
        x_s = combine(alpha_s, read.x0, sigma_s * (1 - share).sqrt(), read.eps)
        assert isinstance(x_s, Tensor)
        assert isinstance(carry.x, Tensor)
        if waits:
            x_s = torch.where(torch.as_tensor(expand(still, x_s), device=x_s.device).bool(), promote(carry.x), x_s)
        law, c = None, torch.where(still, 0.0, sigma_s * share.sqrt())
        if bool((c > 0).any()):
            law = Moving(x_s, c)
            x_s = law.sample(rng.at("noise"))
        info = StepInfo(x_t=carry.x, x_s=x_s, t=t, s=s, prediction=prediction, nfe=prediction.nfe, transition=law)
        return carry.advance(x_s), info

    def _share(self, process: Gaussian, t: Tensor, s: Tensor) -> Tensor:
        """``c^2/sigma_s^2``: how much of the noise at s is fresh."""
        if bool((s > t).any()):
            raise Unsupported(f"a frame's time may rise at eta=0 only, got eta={self.eta:g}")
        forgotten = -torch.expm1(process.log_snr(t) - process.log_snr(s))
        share = self.eta**2 * torch.where(s == t, 0.0, forgotten)  # at s = t both may be infinite
        if bool((share > 1).any()):
            raise Unsupported(f"eta={self.eta:g} asks for more noise than there is: take more steps, or eta <= 1")
        return share
