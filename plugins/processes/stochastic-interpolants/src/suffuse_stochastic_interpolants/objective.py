"""The quadratic objectives whose minimisers are the fields of an interpolant."""

from __future__ import annotations

from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Batch, Loss, Objective, Progress
from suffuse.contracts.part import setting
from suffuse.contracts.process import as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves
from suffuse.system import System
from suffuse_stochastic_interpolants.model import Learned
from suffuse_stochastic_interpolants.process import Interpolant

__all__ = ["Quadratic"]


@attrs.frozen(kw_only=True)
class Quadratic(Objective):
    """The losses of arXiv:2303.08797, section 2.2, for what the model says that it learns, summed over its networks.

    ``L_b = E[|b|^2/2 - (I' + gamma' z).b]``, ``L_v = E[|v|^2/2 - I'.v]``, ``L_eta = E[|eta|^2/2 - z.eta]`` and
    ``L_s = E[|s|^2/2 + z.s/gamma]`` at ``x_t = I + gamma z``, t uniform on ``[margin, 1 - margin]``; means over a
    sample's elements. With ``antithetic`` L_b and L_s are the mean over ``+z`` and ``-z`` of one (t, x_0, x_1), which
    keeps them bounded where gamma' or 1/gamma is not (section 6.1); it costs a second evaluation. A batch must bring
    pairs: ``end`` is x_1, of the other data set.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"interpolant", "field"})

    margin: float = setting(0.0, "how far times stay from 0 and 1", ge=0, lt=0.5)
    antithetic: bool = setting(True, "pair z with -z in L_b and L_s")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Streams: ``times``, ``noise`` of the process, ``model``."""
        process = system.process
        if batch is None or batch.end is None:
            raise InvalidInput("an interpolant learns from pairs: expected a batch with end, got none")
        if not isinstance(process, Interpolant):
            raise Unsupported(f"this objective needs an Interpolant process, got {type(process).__name__}")
        u = rng.at("times").uniform(torch.empty(rng.size, dtype=torch.float64, device=rng.device), open_interval=True)
        t = self.margin + (1 - 2 * self.margin) * u
        made = process.corrupt(batch.x, t, rng=rng, end=batch.end)
        first = self._terms(system, process, batch, t, made.x_t, made.noise, 1.0, rng)
        if made.noise is not None and self.antithetic and self._paired(first):
            _, _, gamma = process.coefficients(t)
            other = combine(1.0, made.x_t, -2 * gamma, made.noise)
            second = self._terms(system, process, batch, t, other, made.noise, -1.0, rng)
            terms = {k: v if k in ("v", "eta") else (v + second[k]) / 2 for k, v in first.items()}
        else:
            terms = first
        return Loss(torch.stack(list(terms.values())).sum(0), {k: v.detach().mean() for k, v in terms.items()})

    @staticmethod
    def _paired(terms: dict[str, Tensor]) -> bool:
        return not {"b", "score"}.isdisjoint(terms)

    @staticmethod
    def _terms(
        system: System,
        process: Interpolant,
        batch: Batch,
        t: Tensor,
        x_t: State,
        noise: State | None,
        sign: float,
        rng: Rng,
    ) -> dict[str, Tensor]:
        """Each network's loss ``(B,)`` at ``I + sign gamma z``."""
        prediction = system.plain(x_t, t, batch.cond, rng=rng.at("model"))
        if not isinstance(prediction, Learned):
            raise Unsupported(f"this objective trains learned fields, got a prediction of kind '{prediction.name}'")
        (da, db, product), (_, _, gamma) = process.slopes(as_time(t)), process.coefficients(as_time(t))
        goal = combine(da, batch.x, db, cast(State, batch.end))
        if prediction.drift == "b" and noise is not None:
            goal = combine(1.0, goal, sign * product / gamma, noise)
        terms = {prediction.drift: _quadratic(prediction.value, goal)}
        if prediction.second is not None:
            if noise is None:
                raise Unsupported("there is no eta and no score to learn where gamma is 'none'")
            weight = sign if prediction.noise == "eta" else -sign / gamma
            terms[prediction.noise] = _quadratic(prediction.second, combine(weight, noise, 0.0, noise))
        return terms


def _quadratic(f: State, goal: State) -> Tensor:
    """``|f|^2/2 - goal.f``, a mean over the sample's elements ``(B,)``: least where f is E[goal | x_t]."""
    pairs = zip(leaves(f), leaves(goal), strict=True)
    return torch.cat([(v * (v / 2 - w)).flatten(1) for (_, v), (_, w) in pairs], dim=1).mean(1)
