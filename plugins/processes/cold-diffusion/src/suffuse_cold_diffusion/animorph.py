"""Turning one image into another, and noise as the special case: hot diffusion as a degradation."""

from __future__ import annotations

import attrs
from suffuse_ddpm.cosine import Cosine
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.process import Corruption, Degradation, Gaussian, Kernel, as_time
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves, promote, same_form

__all__ = ["Animorph"]


@attrs.frozen(kw_only=True)
class Animorph(Gaussian, Degradation):
    """``D(x, t) = alpha_t x + sigma_t e`` with a fixed end e: another image ("animorphosis"), or noise ("hot").

    Bansal et al. 2022, arXiv:2208.09392, sections 5.1 and 5.3. Without an end one is drawn from N(0, I), and the
    process is its schedule's Gaussian diffusion, for every sampler of that. Any kind of state.
    """

    schedule: Gaussian = setting(factory=Cosine, doc="alpha and sigma")

    def kernel(self, t: Tensor) -> Kernel:
        """The schedule's."""
        return self.schedule.kernel(as_time(t))

    def derivative(self, t: Tensor) -> Kernel:
        """The schedule's."""
        return self.schedule.derivative(as_time(t))

    def time(self, log_snr: Tensor) -> Tensor:
        """The schedule's."""
        return self.schedule.time(log_snr)

    def degrade(self, x0: State, t: Tensor, *, end: State | None = None) -> State:
        """The mix of two images. Raises ``InvalidInput`` without the other one."""
        if end is None:
            raise InvalidInput("a morph needs the other image as its end, got none")
        same_form(end, x0, "the end")
        k = self.kernel(as_time(t))
        return combine(k.alpha, x0, k.sigma, end)

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """``D(x_0, t)`` at the given end, or at noise of the stream ``noise``."""
        if end is not None:
            return Corruption(self.degrade(x0, t, end=end), x0, as_time(t), end=end)
        rng = rng.at("noise")
        drawn = {name: rng.at(name).normal(promote(v)) for name, v in leaves(x0)}
        noise: State = drawn[""] if isinstance(x0, Tensor) else drawn
        return Corruption(self.degrade(x0, t, end=noise), x0, as_time(t), noise=noise, end=noise)
