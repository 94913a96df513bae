"""Does the critic's estimate follow the quality of the samples?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch
from scipy import stats
from torch import Tensor

from suffuse.contracts.objective import Objective
from suffuse.contracts.part import setting
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import fit, rows_of
from suffuse_wgan.distances import wasserstein

__all__ = ["CriticCurve"]


@attrs.frozen(kw_only=True)
class CriticCurve(Task):
    """Trains a copy of the generator and compares the critic's estimate with the exact distance to the data.

    Arjovsky et al., Wasserstein GAN, 2017, arXiv:1701.07875, section 4.2 and figures 3 and 4. Input ``data``, states
    ``(N, *event)``, N at least ``samples``. Table ``curve``: every ``every`` steps the ``estimate``, the median of
    the objective's log ``quantity`` over these steps (the paper's median filter), and ``wasserstein``, W1 between as
    many samples and rows of data, by assignment. Metrics: ``rank_correlation`` (Spearman's) of the two, and the
    ``wasserstein`` at the end. Neither the system nor the objective changes.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"generator"})

    objective: Objective = setting(doc="an adversarial objective")
    quantity: str = setting("critic/wasserstein", "which of its logs is the estimate")
    steps: int = setting(900, "steps of the generator", ge=2)
    every: int = setting(50, "steps between measurements", ge=1)
    samples: int = setting(500, "samples a measurement; its cost is cubic in them", ge=2)
    batch: int = setting(100, "samples a step", ge=1)
    learning_rate: float = setting(5e-5, "of both players", gt=0)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, and for an objective without this log."""
        if set(inputs) != {"data"} or not isinstance(inputs["data"], Tensor):
            raise InvalidInput(f"wgan/critic-curve takes one tensor data, got {sorted(inputs)}")
        data = inputs["data"]
        system.space.check(data)
        if len(data) < self.samples:
            raise InvalidInput(f"expected at least samples={self.samples} rows of data, got {len(data)}")
        model, objective, seed = copy.deepcopy(system.model), copy.deepcopy(self.objective), rng.seed()
        trained = attrs.evolve(system, model=model)
        held = data[Rng.of(seed, 1).at("held").permutation(len(data))[0, : self.samples].to(data.device)]
        distances: list[float] = []

        def measure(step: int) -> None:
            if step % self.every == 0:
                model.eval()
                with torch.no_grad():
                    x = trained.sample(self.samples, seed=seed)
                model.train()
                assert isinstance(x, Tensor)
                distances.append(wasserstein(x.flatten(1), held.flatten(1)))

        logs = fit(
            trained,
            objective,
            rows_of(data),
            steps=self.steps,
            batch=self.batch,
            seed=seed,
            learning_rate=self.learning_rate,
            clip=float("inf"),
            on_step=measure,
        )
        if self.quantity not in logs[0]:
            raise InvalidInput(f"the objective logs {', '.join(sorted(logs[0]))}, not {self.quantity}")
        told = torch.stack([entry[self.quantity] for entry in logs]).cpu()
        medians = [float(part.median()) for part in told.split(self.every)][: len(distances)]
        curve = [
            {"step": (i + 1) * self.every, "estimate": e, "wasserstein": w}
            for i, (e, w) in enumerate(zip(medians, distances, strict=True))
        ]
        rank = float(stats.spearmanr(medians, distances).statistic) if len(distances) > 2 else float("nan")
        metrics = {"rank_correlation": rank, "wasserstein": distances[-1]}
        return Result(metrics=metrics, tables={"curve": curve})
