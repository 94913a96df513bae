"""Perturb-and-average scoring: a denoiser's answer at states without noise, which it was not trained on."""

from __future__ import annotations

from typing import ClassVar, cast

import attrs
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.law import Normal
from suffuse.contracts.model import Denoise
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean, Prediction
from suffuse.contracts.process import Gaussian, as_time
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, require
from suffuse.system import System

__all__ = ["Perturb", "perturbed"]


def perturbed(
    denoise: Denoise,
    process: Gaussian,
    x_t: State,
    t: Tensor,
    cond: Condition,
    *,
    samples: int,
    reduced: bool,
    rng: Rng,
    s: Tensor | None = None,
) -> Mean:
    """``x0 = mean_n D(x_t + sigma_t n)`` read at ``x_t`` itself, a state that holds no noise: ``alpha_t x``.

    Its score ``(alpha_t x0 - x_t)/sigma_t^2`` is the variance-reduced estimator, for ``alpha = 1`` the paper's
    ``mean_n (D(x + sigma n) - x)/sigma^2``; ``reduced=False`` keeps the term of zero mean, which makes it the mean of
    the scores at the perturbed states (Wang et al. 2023, arXiv:2212.00774, section 4). For Gaussian data both have
    the mean ``grad log p_t(x_t)``; the reduced one has less variance where sigma_t exceeds alpha_t times the data's
    own deviation, more below. Streams: ``(perturb, n)`` and ``(model, n)``.
    """
    t, nfe, x0 = as_time(t), 0, None
    alpha, sigma = process.scalars(t)
    if not reduced:
        require(alpha > 0, "scores at perturbed states cannot be averaged where no signal is left")
    for n in range(samples):
        noisy = Normal(x_t, sigma).sample(rng.at("perturb", n))
        p = denoise(noisy, t, cond, s=s, rng=rng.at("model", n))
        if not isinstance(p, Mean):
            raise Unsupported(f"only a denoiser's means can be averaged, got a prediction of kind '{p.name}'")
        one = p.x0 if reduced else combine(1.0, p.x0, -1 / alpha, combine(1.0, noisy, -1.0, x_t))
        x0 = combine(1 / samples, one, 0.0, one) if x0 is None else combine(1.0, x0, 1 / samples, one)
        nfe += p.nfe
    return Mean(value=cast(State, x0), x_t=x_t, t=t, process=process, nfe=nfe)


@attrs.frozen(kw_only=True)
class Perturb(Guidance):
    """Ask the denoiser around a state without noise instead of at it: ``sjc/perturb`` for tasks that score images.

    Wang et al., Score Jacobian Chaining, 2023, arXiv:2212.00774, section 4. See ``perturbed``; a call costs
    ``samples`` evaluations and needs ``rng``. Meant for un-noised inputs: states on a sampler's way hold their noise
    already, and would be read as too clean.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    space: ClassVar[str] = "x0"

    samples: int = setting(1, "noises to average over", ge=1)
    reduced: bool = setting(True, "leave out the noise's own term, whose mean is zero")

    def denoiser(self, inner: Denoise, system: System) -> Denoise:
        """The average. Raises ``Unsupported`` without ``rng``."""
        process = cast(Gaussian, system.process)

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            if rng is None:
                raise Unsupported("perturb-and-average scoring draws noise: call the denoiser with rng")
            settings = {"samples": self.samples, "reduced": self.reduced}
            return perturbed(inner, process, x_t, t, cond, rng=rng, s=s, **settings)

        return denoise
