"""Encoding: the sampler's own walk, backwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.capabilities import Given, check
from suffuse.contracts.condition import Condition
from suffuse.contracts.sampler import stream
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput, Unsupported
from suffuse.parts import Stop
from suffuse.rng import Rng
from suffuse.state import State, combine, leaves, size
from suffuse.system import System, parts_of

__all__ = ["Invert", "decode", "encode"]


def encode(system: System, x0: State, cond: Condition, rng: Rng, *, times: Tensor | None = None) -> State:
    """The latent of a state: the ODE solved from data to noise, over ``times`` (falling) in reverse.

    ``times`` is the sampler's own grid unless given. Guidance acts as in sampling; inversion is closest to exact
    without it. The grid must start below t = 1 where the process forgets the data.
    Song et al., 2021, arXiv:2010.02502, section 4.3 and section 5.4.
    """
    sampler, process = system.sampler, system.process
    if sampler is None or process is None or "inversion" not in sampler.gives:
        raise Unsupported(f"encoding needs a sampler that gives 'inversion', such as ddim/ddim at eta=0, got {sampler}")
    times = sampler.times(process) if times is None else times
    # Whatever a terminal does, it does at the data's end.
    system = attrs.evolve(system, sampler=attrs.evolve(sampler, terminal=Stop()))
    return _last(system, x0, cond, rng, times.flip(0))


def decode(system: System, latent: State, cond: Condition, rng: Rng, *, times: Tensor | None = None) -> State:
    """The state of a latent: sampling from it, over the same times."""
    return _last(system, latent, cond, rng, times)


@attrs.frozen(kw_only=True)
class Invert(Task):
    """Data to latents and back, with the error of the round trip.

    Inputs: ``data`` ``(B, *event)``, and optionally ``cond``. The sampler gives the grid and must give
    ``inversion`` (``ddim/ddim`` at eta = 0). Metrics, of decoded data: ``rmse`` and the largest error ``max``.
    States: ``latent`` and ``reconstruction``. Song et al., 2021, arXiv:2010.02502, section 5.4 and table 2.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inversion"})

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, ``IncompatibleComponents`` for a sampler that cannot invert."""
        if "data" not in inputs or set(inputs) - {"data", "cond"}:
            raise InvalidInput(f"inversion takes data and, optionally, cond; got {sorted(inputs)}")
        parts = [Given(path, type(p).__name__, p.needs, p.gives) for path, p in parts_of(system)]
        check([Given("task", type(self).__name__, self.needs, self.gives), *parts])
        given = inputs.get("cond") or {}
        cond = given if isinstance(given, Condition) else Condition(given)
        data = inputs["data"]
        x0 = system.codec.encode(data)
        system.space.check(x0)
        system.check(cond)
        if size(x0) != rng.size or cond.size not in (None, rng.size):
            raise InvalidInput(f"{rng.size} streams for {size(x0)} data and a condition of {cond.size}")
        latent = encode(system, x0, cond, rng.at("encode"))
        found = system.codec.decode(decode(system, latent, cond, rng.at("decode")))
        errors = torch.cat([e.flatten() for _, e in leaves(combine(1.0, found, -1.0, data))])
        return Result(
            metrics={"rmse": errors.square().mean().sqrt().item(), "max": errors.abs().max().item()},
            states={"latent": latent, "reconstruction": found},
        )


def _last(system: System, x: State, cond: Condition, rng: Rng, times: Tensor | None) -> State:
    for carry, _ in stream(system, x, cond, rng, start=x, times=times):
        x = carry.x
    return x
