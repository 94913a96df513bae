"""Soft value-based decoding: of several candidates for the next state, the value chooses one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry, Step, StepInfo
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State, size, tree_map
from suffuse.system import System
from suffuse_svdd.values import Value

__all__ = ["Svdd", "unguided"]


@attrs.frozen(kw_only=True)
class Svdd(Guidance):
    """Each step draws M candidates from its own law and keeps one, for each sample by itself:

        x^m ~ p(x_s | x_t), m = 1 .. M;   x_s = x^m with probability exp(v(x^m)/alpha) / sum_j exp(v(x^j)/alpha).

    At alpha = 0 it is the candidate of the highest value. With the soft value and many candidates a step is
    ``p(x_s | x_t) exp(v(x_s)/alpha)`` up to its constant, and the samples are those of ``p(x_0) exp(r(x_0)/alpha)``.
    No gradient of the reward is taken. Li et al., Derivative-Free Guidance in Continuous and Discrete Diffusion Models
    with Soft Value-Based Decoding, 2024, arXiv:2408.08252, algorithm 1; ``candidates`` and alpha = 0 are those of the
    authors' code.

    For any sampler that tells its steps' laws, Gaussian or discrete, and whose memory is of what it has seen up to t,
    as multistep solvers' is. The first candidate is the step's own draw, so M = 1 is the plain sampler, bit for bit;
    the others are of the streams ``candidate, m``. Steps that draw nothing, as a last one, are left alone. The law of
    what was chosen has no closed form: the step tells no ``transition`` on, so of several guidances this is the last.

    Candidates are valued in one batch of M times the samples. Raises ``Unsupported`` for a random step that tells no
    law, and for one that goes on from another state than its law's draw.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    value: Value = setting(doc="what candidates are weighed by")
    candidates: int = setting(10, "M, draws a step", ge=1)
    alpha: float = setting(0.0, "temperature, in units of the reward: 0 takes the best, infinity any", ge=0)

    def step(self, inner: Step, system: System) -> Step:
        """The step with its choice; streams ``candidate``, ``value`` and ``choice``."""
        if self.candidates == 1:
            return inner

        def step(system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
            after, info = inner(system, carry, t, s, rng)
            if info.transition is None:
                _still(system, info)
                return after, info
            if after.x is not info.x_s:
                name = type(system.sampler).__name__
                raise Unsupported(f"{name} goes on from another state than its step drew: its candidates have no law")
            law, m = info.transition, self.candidates
            drawn = [info.x_s, *(law.sample(rng.at("candidate", k)) for k in range(1, m))]
            values, nfe = self._values(system, drawn, info.s, carry.cond, rng.at("value"))
            chosen = self._choose(values, rng.at("choice"))
            x_s = tree_map(
                lambda *rows: torch.stack(rows)[chosen, torch.arange(len(chosen), device=chosen.device)], *drawn
            )
            told = attrs.evolve(info, x_s=x_s, nfe=info.nfe + m * nfe, transition=None)
            return attrs.evolve(after, x=x_s), told

        return step

    @torch.no_grad()
    def _values(
        self, system: System, drawn: Sequence[State], s: Tensor, cond: Condition, rng: Rng
    ) -> tuple[Tensor, int]:
        """``(M, B)``, from one call, in which a random denoiser has the same noise for all candidates of a sample."""
        m, n = len(drawn), size(drawn[0])
        many = tree_map(lambda *rows: torch.cat(rows), *drawn)
        times = s if s.ndim == 0 else s.repeat(m, *(1,) * (s.ndim - 1))
        values, nfe = self.value.value(system, many, times, Condition.cat([cond] * m), Rng.cat([rng] * m))
        return values.view(m, n), nfe

    def _choose(self, values: Tensor, rng: Rng) -> Tensor:
        """The chosen candidate of each sample, ``(B,)``; of equals the first."""
        if self.alpha == 0:
            return values.argmax(0)
        return rng.categorical(values.T.double() / self.alpha)


def unguided(system: System) -> System:
    """The system whose samples ``Svdd`` chooses among: with one candidate, and all other guidance as it is."""
    return attrs.evolve(system, guidance=None if system.guidance is None else _without(system.guidance))


def _without(part: Any) -> Any:  # noqa: ANN401 - a guidance with those that it holds
    if isinstance(part, Svdd):
        return attrs.evolve(part, candidates=1)
    held = {a.name: getattr(part, a.name) for a in attrs.fields(type(part)) if a.init}
    changed: dict[str, Any] = {name: _without(v) for name, v in held.items() if isinstance(v, Guidance)}
    for name, v in held.items():
        if isinstance(v, tuple) and v and all(isinstance(p, Guidance) for p in v):
            changed[name] = tuple(map(_without, v))
    return attrs.evolve(part, **changed) if changed else part


def _still(system: System, info: StepInfo) -> None:
    """Without a law a step must be one that draws nothing: the last, or one that leaves its state."""
    if info.x_s is not info.x_t and bool((info.s > 0).any()):
        name = type(system.sampler).__name__
        raise Unsupported(f"candidates need steps that tell their law; one of {name} from t={info.t.tolist()} does not")
