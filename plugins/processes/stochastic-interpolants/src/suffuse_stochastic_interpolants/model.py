"""What networks learn of an interpolant, and how the velocity and the score follow from it."""

from __future__ import annotations

from typing import ClassVar, Literal, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Field
from suffuse.contracts.process import Process, as_time
from suffuse.errors import SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, promote, require
from suffuse_stochastic_interpolants.process import Interpolant

__all__ = ["Fields", "Learned"]


@attrs.frozen(eq=False, kw_only=True)
class Learned(Field):
    """Two of the fields of arXiv:2303.08797, section 2.2, from which the others follow.

    ``v = E[a' x_0 + b' x_1 | x_t]``, ``eta = E[z | x_t]``, ``b = E[x_t' | x_t] = v + gamma' eta`` and
    ``s = grad log p_t = -eta/gamma``. ``value`` is b or v, ``second`` is eta or s, or nothing. What divides by gamma is
    refused where gamma is 0.
    """

    process: Interpolant
    drift: Literal["b", "v"]
    noise: Literal["eta", "score"]

    @property
    def velocity(self) -> State:
        """``b``, or ``v + gamma' eta = v - gamma gamma' s``."""
        if self.drift == "b":
            return self.value
        _, _, product = self.process.slopes(self.t)
        if self.noise == "score":
            return combine(1.0, self.value, -product, self._second("velocity"))
        return combine(1.0, self.value, product / self._gamma("velocity"), self._second("velocity"))

    @property
    def score(self) -> State:
        """``s``, or ``-eta/gamma``."""
        second = self._second("score")
        return second if self.noise == "score" else combine(-1 / self._gamma("score"), second, 0.0, second)

    def _second(self, what: str) -> State:
        if self.second is None:
            self._refuse(what)
        return self.second

    def _gamma(self, what: str) -> Tensor:
        _, _, gamma = self.process.coefficients(self.t)
        require(gamma > 0, f"{what} does not follow from eta where gamma is 0: stay away from both ends, or learn b")
        return gamma


@module
class Fields(Denoiser):
    """One network for the drift and, for random samplers, one for the noise; both are told ``clock t``.

    ``drift`` says what the first has learned: ``b``, which is the velocity, or ``v``, the part of it that needs eta or
    s besides. ``noise`` says what the second has learned: the denoiser ``eta``, whose regression is bounded, or the
    ``score``. Gives ``score`` where there is a second network.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"field", "score", "conditional"})
    needs: ClassVar[frozenset[str]] = frozenset({"interpolant"})

    drift_net: Backbone = setting(doc="the network that gives b or v")
    noise_net: Backbone | None = setting(None, "the network that gives eta or the score")
    drift: Literal["b", "v"] = setting("b", "what the first has learned", choices=("b", "v"))
    noise: Literal["eta", "score"] = setting("eta", "what the second has learned", choices=("eta", "score"))
    clock: float = setting(1.0, "c_noise a unit of time", gt=0, lt=float("inf"))

    def __attrs_post_init__(self) -> None:
        if self.drift == "v" and self.noise_net is None:
            raise SpecError("v alone gives no velocity: expected a noise_net, or drift='b'")

    @property
    def gives(self) -> frozenset[str]:
        """``field``; ``score`` with a second network; ``conditional`` where the networks take labels."""
        nets = [net for net in (self.drift_net, self.noise_net) if net is not None]
        score = {"score"} if self.noise_net is not None else set[str]()
        return frozenset({"field", *score}) | frozenset.intersection(*(net.gives & {"conditional"} for net in nets))

    def check(self, cond: Condition) -> None:
        """The networks' checks."""
        self.drift_net.check(cond)
        if self.noise_net is not None:
            self.noise_net.check(cond)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Learned:
        """Both networks at ``x_t``, in their own dtype."""
        if not isinstance(process, Interpolant) or not isinstance(x_t, Tensor):
            raise Unsupported("learned fields read one tensor of an Interpolant process")
        x, t = promote(x_t), as_time(t)
        value = self._call(self.drift_net, x, t, cond)
        second = None if self.noise_net is None else self._call(self.noise_net, x, t, cond)
        kinds = {"drift": self.drift, "noise": self.noise}
        return Learned(value=value, second=second, x_t=x, t=t, process=process, **kinds)

    def _call(self, net: Backbone, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        dtype = next(net.parameters()).dtype
        c_noise = (self.clock * t).to(x.device, torch.promote_types(dtype, torch.float32))
        out = net(x.to(dtype), c_noise.expand(len(x)) if c_noise.ndim == 0 else c_noise, cond)
        return cast(Tensor, out.to(x.dtype))
