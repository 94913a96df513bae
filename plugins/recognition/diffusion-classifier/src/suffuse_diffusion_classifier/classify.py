"""Classification by denoising errors, with classes pruned on the way."""

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
from suffuse_diffusion_classifier.errors import Loss, errors, grid, subgrid
from suffuse_diffusion_classifier.inputs import encoded

__all__ = ["Classify"]


def _stages(value: tuple[tuple[int, int], ...]) -> str | None:
    """What is wrong with a schedule of stages, or None."""
    counts, kept = zip(*value, strict=True) if value else ((), ())
    if not value or min(counts) < 1 or list(counts) != sorted(set(counts)):
        return f"expected stages (n, keep) with n growing from at least 1, got {value!r}"
    if kept[-1] != 1 or list(kept) != sorted(set(kept), reverse=True):
        return f"expected stages (n, keep) that keep fewer and fewer, 1 in the end, got {value!r}"
    if any(counts[-1] // n * n > counts[-1] or n > counts[-1] for n in counts):
        return f"expected no stage larger than the last, got {value!r}"
    return None


@attrs.frozen(kw_only=True)
class Classify(Task):
    """``argmin_k mean_i |eps_i - eps(x_{t_i}, t_i, c_k)|^p`` over candidate conditions, without training.

    N evenly spaced times and one noise for each, the same for every condition: only differences of errors count, and
    shared noise cancels in them. ``stages = ((n_1, k_1), ..., (N, 1))`` prunes: after n_s of the N times, evenly
    spread and evaluated once, the k_s best conditions go on. ``((N, 1),)`` is the plain classifier.
    Li et al. 2023, arXiv:2303.16203, algorithms 1 and 2; the published stages (and loss) are
    ``((50, 5), (500, 1))`` (l1) for CIFAR-10, ``((25, 5), (250, 1))`` (l1) for Pets, ``((50, 500), (100, 50),
    (500, 10), (1000, 1))`` (l2) for ImageNet.

    Inputs: ``data`` ``(B, *event)``; ``candidates``, a condition of K rows such as ``{"label": torch.arange(10)}``;
    optionally ``classes``, the class of each candidate, where several stand for one (the best one wins), and
    ``label``, the true classes, for the accuracy. Guidance is not used.

    States: ``class`` ``(B,)``; ``posterior`` ``(B, K)``, the softmax of minus the mean errors (equation 6, uniform
    prior), 0 for the pruned; ``errors`` ``(B, K, N)``, NaN where nothing was evaluated. The mean over entries smooths
    the posterior by their number, so use it for ranking; with ``reduction="sum"`` and the weighting
    ``diffusion-classifier/likelihood`` it estimates the model's own. Metrics: ``evaluations`` for each sample, and
    ``accuracy`` where labels are given.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    stages: tuple[tuple[int, int], ...] = setting(
        ((50, 5), (500, 1)), "(times so far, conditions kept), stage by stage", check=_stages
    )
    loss: Loss = setting("l2", "the error of eps", choices=("l2", "l1", "huber"))
    weighting: Weighting = setting(factory=UnitWeight, doc="weight of each noise level's error of eps")
    reduction: str = setting("mean", "over the entries of a sample", choices=("mean", "sum"))
    chain: int = setting(1000, "T, the steps that the times are taken from", ge=1)

    def __attrs_post_init__(self) -> None:
        if self.stages[-1][0] > self.chain:
            raise SpecError(
                f"stages: {self.stages[-1][0]} times do not fit into a chain of {self.chain}", path="stages"
            )

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, or for fewer candidates than the first stage keeps."""
        x0, extra = encoded(system, inputs, rng, {"candidates", "classes", "label"}, {"candidates"})
        given = extra["candidates"]
        candidates = (given if isinstance(given, Condition) else Condition(given)).to(system.device)
        system.check(candidates)
        k, b, total = candidates.size or 0, rng.size, self.stages[-1][0]
        if k < max(1, self.stages[0][1]):
            raise InvalidInput(f"the first stage keeps {self.stages[0][1]} of {k} candidates")
        classes = torch.as_tensor(extra.get("classes", torch.arange(k))).to(system.device)
        if classes.shape != (k,):
            raise InvalidInput(f"classes must name the class of each of {k} candidates, got {tuple(classes.shape)}")
        times = grid(total, self.chain)
        table = torch.full((b, k, total), float("nan"), dtype=torch.float64, device=system.device)
        alive = torch.arange(k, device=system.device).expand(b, k)
        done, nfe = set[int](), 0
        for n, keep in self.stages:
            at = [i for i in subgrid(n, total) if i not in done]
            if at:
                conds = [candidates.index(alive[:, j]) for j in range(alive.shape[1])]
                settings = {"loss": self.loss, "weighting": self.weighting, "mean": self.reduction == "mean"}
                fresh, spent = errors(system, x0, conds, times, at, rng, **settings)
                rows = torch.arange(b, device=system.device)[:, None, None]
                table[rows, alive[:, :, None], torch.tensor(at, device=system.device)] = fresh
                done, nfe = done | set(at), nfe + spent
            score = table.gather(1, alive[:, :, None].expand(-1, -1, total)).nanmean(2)
            alive = alive.gather(1, score.argsort(dim=1, stable=True)[:, :keep])
        best = alive[:, 0]
        score = torch.where(table.isnan().sum(2) == total - len(done), table.nanmean(2), float("inf"))
        metrics = {"evaluations": float(nfe)}
        found = classes[best]
        if "label" in extra:
            metrics["accuracy"] = float((found == torch.as_tensor(extra["label"]).to(found)).double().mean())
        posterior = (-score).softmax(1)
        return Result(metrics=metrics, states={"class": found, "posterior": posterior, "errors": table})
