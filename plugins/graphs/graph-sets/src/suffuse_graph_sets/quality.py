"""How good a system's graphs are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.sampler import StepInfo
from suffuse.contracts.task import Dataset, Example, Metric, Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_graph_sets.community import CommunitySmall
from suffuse_graph_sets.metrics import Average

__all__ = ["Quality"]


@attrs.frozen(kw_only=True)
class Quality(Task):
    """Samples graphs and compares them with a test set, as the field's tables do.

    Input, optional: ``n``, how many graphs (as many as the test set has). Their numbers of nodes are the system's own
    to draw. Metrics: the metric's, and ``nfe``, network evaluations a sample. State ``samples``. Values of different n,
    or of other sets, are not comparable: the squared MMD of a few graphs is biased upwards.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"graphs"})

    data: Dataset = setting(factory=lambda: CommunitySmall(split="test"), doc="the test set")
    metric: Metric = setting(factory=Average, doc="the distance from it")

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs."""
        if unknown := set(inputs) - {"n"}:
            raise InvalidInput(f"graph-sets/quality takes n, got {', '.join(sorted(unknown))}")
        n = inputs.get("n", len(self.data))
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidInput(f"n must be an integer of at least 1, got {n!r}")
        evaluations = 0

        def count(_: int, info: StepInfo) -> None:
            nonlocal evaluations
            evaluations += info.nfe

        x = system.sample(n, seed=rng.seed(), on_step=count)
        every = torch.arange(len(self.data))
        reference = self.data.rows(every, rng.pool().repeat(len(every)))
        found = self.metric.measure(Example(x=x, cond=Condition()), reference)
        return Result(metrics={**found, "nfe": float(evaluations)}, states={"samples": x})
