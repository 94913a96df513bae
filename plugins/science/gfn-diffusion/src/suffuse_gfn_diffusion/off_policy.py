"""Where training trajectories come from: the policy, the policy with more noise, or replayed samples."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.objective import Progress
from suffuse.contracts.part import setting
from suffuse.contracts.target import Target
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_gfn_diffusion.local_search import LocalSearch, by_rank, latest
from suffuse_gfn_diffusion.paths import Paths, backward, evaluate, forward

__all__ = ["OffPolicy"]


@attrs.define(eq=False, slots=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class OffPolicy:
    """The trajectories of an objective that holds on any of them; a mixin in front of ``Objective``.

    Without local search every step draws B trajectories from the policy, each step's variance raised by the square
    of ``exploration (1 - step/exploration_steps)``. With it, odd steps draw B of the samples found by the search, by
    rank, and a trajectory of the process from each. Buffers stand in the checkpointed progress.
    """

    uses_data = False

    target: Target = setting(doc="what is sampled")
    exploration: float = setting(0.0, "standard deviation of the noise added to each step at the start", ge=0)
    exploration_steps: int = setting(5000, "training steps until there is none, linearly", ge=1)
    local_search: LocalSearch | None = setting(None, "how samples are refined and replayed; by default they are not")

    def start(self, system: System, rng: Rng) -> Progress:
        """No samples yet."""
        if self.local_search is None:
            return {"iteration": 0}
        none = system.space.like(1, device=system.device)
        assert isinstance(none, Tensor)
        samples = dict.fromkeys(("drawn", "found"), none[:0])
        return {"iteration": 0, **samples, **{f"{name}_log_r": none.new_zeros(0) for name in samples}}

    def draw(self, system: System, state: Progress, rng: Rng) -> tuple[Paths, dict[str, Tensor]]:
        """Trajectories for this step, evaluated, and what of them goes into the buffer."""
        iteration = int(state["iteration"])
        found, log_r = state.get("found"), state.get("found_log_r")
        if iteration % 2 and isinstance(found, Tensor) and isinstance(log_r, Tensor) and len(found):
            states = backward(system, found[by_rank(log_r, rng)], rng.at("backward"))
            return evaluate(system, states, rng.at("evaluate")), {}
        noise = self.exploration * max(0.0, 1 - iteration / self.exploration_steps)
        states = forward(system, rng.at("forward"), exploration=noise)
        seen = {} if self.local_search is None else {"reached": states[-1]}
        return evaluate(system, states, rng.at("evaluate")), seen

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """The buffer takes in what was reached; when it is time, samples are refined."""
        search = self.local_search
        if search is None:
            return {"iteration": step}
        kept = {name: v for name, v in state.items() if isinstance(v, Tensor)}
        reached = kept.pop("reached", None)
        if reached is not None:
            kept["drawn"] = latest(kept["drawn"], reached, search.capacity)
            kept["drawn_log_r"] = latest(kept["drawn_log_r"], -self.target.energy(reached), search.capacity)
        if step % search.every == 1:
            x = kept["drawn"][by_rank(kept["drawn_log_r"], rng.at("start"))]
            with torch.no_grad():
                found, log_r = search.refine(self.target, x, rng.at("search"))
            kept["found"] = latest(kept["found"], found, search.capacity)
            kept["found_log_r"] = latest(kept["found_log_r"], log_r, search.capacity)
        return {"iteration": step, **kept}
