"""Which of two conditions belongs to a sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Weighting
from suffuse.contracts.part import setting
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput, SpecError
from suffuse.parts import UnitWeight
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_diffusion_classifier.errors import Loss, errors, grid
from suffuse_diffusion_classifier.inputs import encoded

__all__ = ["Match"]


@attrs.frozen(kw_only=True)
class Match(Task):
    """For each sample, whether its own condition has less denoising error than a wrong one.

    Winoground's text score: of two images with two captions each must be matched with its own. Errors of different
    images cannot be compared, so there is no image score (Li et al. 2023, arXiv:2303.16203, section 5.3).

    Inputs: ``data`` ``(B, *event)``; ``own`` and ``other``, conditions of B rows; optionally ``group`` ``(B,)``, the
    pair that a sample belongs to: a group counts where all of its samples are matched. States: ``margin`` ``(B,)``,
    the error of the other condition less that of the own. Metrics: ``evaluations``, ``accuracy`` over samples, and
    ``text-score`` over groups.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    samples: int = setting(1000, "N, the times; each is evaluated under both conditions with one noise", ge=1)
    loss: Loss = setting("l2", "the error of eps", choices=("l2", "l1", "huber"))
    weighting: Weighting = setting(factory=UnitWeight, doc="weight of each noise level's error of eps")
    chain: int = setting(1000, "T, the steps that the times are taken from", ge=1)

    def __attrs_post_init__(self) -> None:
        if self.samples > self.chain:
            raise SpecError(f"samples: {self.samples} times do not fit into a chain of {self.chain}", path="samples")

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs."""
        x0, extra = encoded(system, inputs, rng, {"own", "other", "group"}, {"own", "other"})
        conds = [c if isinstance(c, Condition) else Condition(c) for c in (extra["own"], extra["other"])]
        conds = [c.to(system.device) for c in conds]
        for name, cond in zip(("own", "other"), conds, strict=True):
            system.check(cond)
            if cond.size != rng.size:
                raise InvalidInput(f"{name} has {cond.size} rows for {rng.size} data")
        table, nfe = errors(
            system,
            x0,
            conds,
            grid(self.samples, self.chain),
            range(self.samples),
            rng,
            loss=self.loss,
            weighting=self.weighting,
            mean=True,
        )
        margin = (table[:, 1] - table[:, 0]).mean(1)
        right = margin > 0
        metrics = {"evaluations": float(nfe), "accuracy": float(right.double().mean())}
        if "group" in extra:
            group = torch.as_tensor(extra["group"]).to(right.device)
            if group.shape != right.shape:
                raise InvalidInput(f"group must name the pair of each of {rng.size} data, got {tuple(group.shape)}")
            whole = [bool(right[group == g].all()) for g in group.unique()]
            metrics["text-score"] = sum(whole) / len(whole)
        return Result(metrics=metrics, states={"margin": margin})
