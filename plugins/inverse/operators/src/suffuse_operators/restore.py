"""Restoring measured data, and saying how well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import attrs
import torch
from torch import Tensor

from suffuse.contracts.operator import LinearOperator, Operator
from suffuse.contracts.part import setting
from suffuse.contracts.sampler import StepInfo
from suffuse.contracts.task import Dataset, Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System, parts_of
from suffuse_operators.metrics import consistency, psnr, ssim
from suffuse_operators.photos import Photos

__all__ = ["Restore", "operator_of", "quality"]

_RANGE = 2.0  # images are states in [-1, 1]


def operator_of(system: System) -> Operator:
    """The one measurement operator in a system. Raises ``InvalidInput`` for none, or several that differ."""
    found = [part for _, part in parts_of(system) if isinstance(part, Operator)]
    if not found or any(part != found[0] for part in found):
        names = [type(part).__name__ for part in found]
        raise InvalidInput(
            f"expected a system with one measurement operator, as in its guidance, got {names or 'none'}"
        )
    return found[0]


def quality(operator: Operator, truth: Tensor, y: Tensor, restored: Tensor) -> dict[str, float]:
    """Means over rows of ``psnr``, ``consistency`` and, for images of at least 7 pixels a side, ``ssim``: of states in
    [-1, 1]. For linear operators also ``psnr_of_pseudo_inverse``, that of ``A_dagger y``.
    """
    numbers = {
        "psnr": float(psnr(restored, truth, _RANGE).mean()),
        "consistency": float(consistency(operator, y, restored).mean()),
    }
    if truth.ndim == 4 and min(truth.shape[2:]) >= 7:
        numbers["ssim"] = float(ssim(restored + 1, truth + 1, _RANGE).mean())
    if isinstance(operator, LinearOperator):
        numbers["psnr_of_pseudo_inverse"] = float(psnr(operator.A_dagger(y), truth, _RANGE).mean())
    return numbers


@attrs.frozen(kw_only=True)
class Restore(Task):
    """Measures rows of a data set with the system's own operator, samples given the measurement ``y``, and compares.

    The system holds the operator in its guidance (or its sampler), which reads the condition's ``y``; operators
    measure states, so data are encoded first. Inputs, all optional: ``n``, how many (16); ``labels``, whether the model
    is told the data's labels (false).

    Metrics: those of ``quality``, and ``nfe``, evaluations a sample. Pictures, of images: ``restore``: truth, what was
    measured (the adjoint of y for linear operators, y itself where it is an image), restored, in rows. States:
    ``truth``, ``y`` and ``restored``.
    """

    dataset: Dataset = setting(factory=lambda: Photos(split="test"), doc="whose rows are measured")

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, and for a system without an operator or of other data."""
        n, labels = self._read(inputs)
        operator = operator_of(system)
        rng = rng.pool().repeat(n)  # n rows, however many streams came
        chosen = rng.pool().at("rows").permutation(len(self.dataset))[0, :n]
        data = self.dataset.rows(chosen.cpu(), rng)
        if labels and "label" not in data.cond:
            raise InvalidInput(f"{type(self.dataset).__name__} has no labels")
        truth = system.codec.encode(data.x)
        system.space.check(truth)
        truth = cast(Tensor, truth).to(system.device)
        y = operator.measure(truth, rng.to(system.device).at("measure"))
        nfe = 0

        def count(_: int, info: StepInfo) -> None:
            nonlocal nfe
            nfe += info.nfe

        cond = {"y": y} | ({"label": data.cond["label"]} if labels else {})
        restored = cast(Tensor, system.codec.encode(system.sample(cond=cond, seed=rng.seed(), on_step=count))).detach()
        return Result(
            metrics={**quality(operator, truth, y, restored), "nfe": nfe},
            pictures={"restore": _sheet(operator, truth, y, restored)} if truth.ndim == 4 else {},
            states={"truth": truth, "y": y, "restored": restored},
        )

    def _read(self, inputs: Mapping[str, Any]) -> tuple[int, bool]:
        given = {"n": 16, "labels": False} | dict(inputs)
        if unknown := set(given) - {"n", "labels"}:
            raise InvalidInput(f"operators/restore takes n and labels, got {sorted(unknown)}")
        n, labels = given["n"], given["labels"]
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(self.dataset):
            raise InvalidInput(f"n must be an integer from 1 to {len(self.dataset)}, got {n!r}")
        if not isinstance(labels, bool):
            raise InvalidInput(f"labels must be true or false, got {labels!r}")
        return n, labels


def _sheet(operator: Operator, truth: Tensor, y: Tensor, restored: Tensor) -> Tensor:
    """At most 12 columns, each image at least 48 pixels wide."""
    seen = operator.A_adjoint(y) if isinstance(operator, LinearOperator) else y
    rows = [truth, seen, restored] if seen.shape == truth.shape else [truth, restored]
    whole = torch.cat([torch.cat(list(r[:12]), dim=2) for r in rows], dim=1)
    zoom = max(1, 48 // truth.shape[3])
    return ((whole + 1) / 2).clamp(0, 1).repeat_interleave(zoom, 1).repeat_interleave(zoom, 2).cpu()
