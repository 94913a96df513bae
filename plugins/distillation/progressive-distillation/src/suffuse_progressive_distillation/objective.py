"""The objective: a student learns two steps of its teacher as one, and becomes the teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import accumulate
from typing import ClassVar, cast

import attrs
import torch
from torch import nn

from suffuse.contracts.model import Denoiser
from suffuse.contracts.objective import Batch, Loss, Objective, Player, Progress, Weighting
from suffuse.contracts.part import module, setting
from suffuse.contracts.process import Gaussian
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.state import combine, leaves
from suffuse.system import System
from suffuse_progressive_distillation.target import two_step_target
from suffuse_progressive_distillation.weighting import TruncatedSnr

__all__ = ["Progressive"]


@module
class Progressive(Objective, nn.Module):
    """Progressive distillation (Salimans and Ho 2022, arXiv:2202.00512, algorithm 2).

    The system's model at the start is the first teacher, for DDIM with ``2 first`` steps on the grid ``t = i/N``. With
    N the student's steps, i uniform on 1 ... N and x_t a noised datum, the loss is
    ``w(t) |x_target - x_student(x_t)|^2``, a mean over the elements, where one DDIM step from x_t over 1/N at x_target
    lands where two of the teacher's over 1/(2N) do. After a stage the student's weights become the teacher's and N is
    halved, down to ``last``; in each stage the learning rate falls linearly to 0 over ``updates``, or ``last_updates``
    where N <= 2, times what the run says. All of this is in the checkpoint.

    Sample the student with ``ddim/ddim`` in ``steps = N`` on ``suffuse/uniform``: it knows the times i/N alone. Its
    output must give x0 at the process's end: v or x0, or eps under a schedule with signal there.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    first: int = setting(4096, "N of the first stage, half of the teacher's steps", ge=1)
    last: int = setting(1, "N of the last stage", ge=1)
    updates: int = setting(50_000, "steps of training in a stage", ge=1)
    last_updates: int = setting(100_000, "in a stage with N <= 2", ge=1)
    weighting: Weighting = setting(factory=TruncatedSnr, doc="of the error of x0")

    def __attrs_post_init__(self) -> None:
        ratio, rest = divmod(self.first, self.last)
        if rest or ratio < 1 or ratio & (ratio - 1):
            raise SpecError(f"first must be last times a power of 2, got first={self.first}, last={self.last}")
        self._stages = [self.first >> k for k in range(ratio.bit_length())]
        self._ends = list(accumulate(self.last_updates if n <= 2 else self.updates for n in self._stages))

    @property
    def total(self) -> int:
        """Steps of training in all stages together."""
        return self._ends[-1]

    def stage(self, step: int) -> tuple[int, float]:
        """N after ``step`` steps of training, and how much of its stage is left, from 1 to 0; the end stays."""
        k = next((k for k, end in enumerate(self._ends) if step < end), len(self._ends) - 1)
        began = self._ends[k - 1] if k else 0
        return self._stages[k], max(0.0, (self._ends[k] - step) / (self._ends[k] - began))

    def players(self, system: System) -> Mapping[str, Player]:
        """The student, at a learning rate that starts anew in each stage."""
        student = Player(modules=(cast(nn.Module, system.model),), learning_rate_scale=lambda step: self.stage(step)[1])
        return {"model": student}

    def start(self, system: System, rng: Rng) -> Progress:
        """The student's weights are the teacher's."""
        if not isinstance(system.model, Denoiser):
            raise Unsupported(f"only a denoiser can be distilled, got {type(system.model).__name__}")
        self.teacher = copy.deepcopy(system.model).requires_grad_(False).eval()
        return {"steps": self.first}

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Three evaluations, one with gradients. Streams: ``step``, the process's, ``teacher``, ``model``."""
        process = system.process
        if batch is None:
            raise InvalidInput("progressive distillation needs data, got no batch")
        if not isinstance(process, Gaussian):
            raise Unsupported(f"progressive distillation needs a Gaussian process, got {type(process).__name__}")
        n = int(state["steps"])
        i = rng.at("step").integers(1, n + 1).double()
        t, middle, s = i / n, (i - 0.5) / n, (i - 1) / n
        x_t = process.corrupt(batch.x, t, rng=rng).x_t
        teacher = attrs.evolve(system, model=self.teacher).plain
        target = two_step_target(teacher, process, x_t, t, middle, s, batch.cond, rng)
        prediction = system.plain(x_t, t, batch.cond, s=s, rng=rng.at("model"))
        errors = combine(1.0, prediction.x0, -1.0, target)
        squares = torch.cat([e.square().flatten(1) for _, e in leaves(errors)], dim=1).mean(1)
        weight = self.weighting.weight(process, t, (1.0, 0.0)).to(squares)
        return Loss(squares * weight, {"mse": squares.detach().mean()})

    def after(self, state: Progress, step: int, system: System, rng: Rng) -> Progress:
        """At the end of a stage the student becomes the teacher, and the grid halves."""
        n, _ = self.stage(step)
        if n == state["steps"]:
            return state
        self.teacher.load_state_dict(cast(nn.Module, system.model).state_dict())
        return {"steps": n}
