"""Test digits with a part hidden, filled in again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.guidance import Guidance
from suffuse.contracts.part import setting
from suffuse.contracts.task import Example, Result, Task
from suffuse.errors import InvalidInput
from suffuse.parts import Chain
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_digits.dataset import Digits
from suffuse_digits.masks import MASKS
from suffuse_digits.metrics import Accuracy
from suffuse_digits.pictures import sheet
from suffuse_digits.replace import Replace

__all__ = ["FillIn"]


@attrs.frozen(kw_only=True)
class FillIn(Task):
    """Fills in the hidden part of test digits, which the system has not seen in training.

    Inputs, all optional: ``n``, how many (16); ``mask``, what is hidden: ``left-half``, ``lower-half``, ``box`` (the
    inner 4 x 4) or ``random`` (half the pixels); ``labels``, whether the model is told the digit (true).

    Metrics: ``rmse`` on the hidden pixels and ``rmse_of_mean``, that of the train digits' mean image in their place,
    both in shares of the range; ``accuracy``, the share of filled digits that the classifier reads as what they were,
    and ``accuracy_of_truth``. Picture ``fill-in``: truth, what is known, and the filled digits, in three rows. States:
    ``truth``, ``mask`` and ``filled``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    guidance: Guidance = setting(
        factory=lambda: Replace(resamplings=5), doc="what reads known and mask; applied after the system's own"
    )

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs, and for a system that is not one of digits."""
        n, mask_name, labels = _read(inputs)
        rng = rng.pool().repeat(n)  # n digits, however many streams came
        test = Digits(split="test")
        chosen = rng.pool().at("rows").permutation(len(test))[0, :n]
        truth = test.rows(chosen, rng)
        assert isinstance(truth.x, Tensor)
        shape = tuple(system.codec.decode(system.space.like(1)).shape)  # type: ignore[union-attr]
        if shape != (1, 1, 8, 8):
            raise InvalidInput(f"expected a system of digits (1, 8, 8), got one of {shape[1:]}")
        mask = MASKS[mask_name](rng.at("mask"))
        cond = {"known": truth.x * mask, "mask": mask} | ({"label": truth.cond["label"]} if labels else {})
        parts = (self.guidance,) if system.guidance is None else (system.guidance, self.guidance)
        guided = attrs.evolve(system, guidance=Chain(parts=parts))
        filled = guided.sample(cond=cond, seed=rng.seed()).cpu()  # type: ignore[union-attr]
        mean = Digits(split="train").everything().x.mean(0, keepdim=True)  # type: ignore[union-attr]
        reader = Accuracy()
        metrics = {
            "rmse": _rmse(filled, truth.x, mask),
            "rmse_of_mean": _rmse(mean, truth.x, mask),
            "accuracy": reader.measure(Example(x=filled, cond=truth.cond), truth)["accuracy"],
            "accuracy_of_truth": reader.measure(truth, truth)["accuracy"],
        }
        rows = [truth.x / 16, torch.where(mask, truth.x / 16, 0.5), filled / 16]
        return Result(
            metrics=metrics,
            pictures={"fill-in": sheet(torch.cat([r[:24] for r in rows]), columns=min(n, 24))},
            states={"truth": truth.x, "mask": mask, "filled": filled},
        )


def _rmse(x: Tensor, y: Tensor, mask: Tensor) -> float:
    return float(((x - y) / 16)[~mask.expand_as(y)].square().mean().sqrt())


def _read(inputs: Mapping[str, Any]) -> tuple[int, str, bool]:
    given = {"n": 16, "mask": "lower-half", "labels": True} | dict(inputs)
    if unknown := set(given) - {"n", "mask", "labels"}:
        raise InvalidInput(f"digits/fill-in takes n, mask and labels, got {sorted(unknown)}")
    n, mask, labels = given["n"], given["mask"], given["labels"]
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(Digits(split="test")):
        raise InvalidInput(f"n must be an integer from 1 to {len(Digits(split='test'))}, got {n!r}")
    if mask not in MASKS:
        raise InvalidInput(f"mask must be one of {', '.join(MASKS)}, got {mask!r}")
    if not isinstance(labels, bool):
        raise InvalidInput(f"labels must be true or false, got {labels!r}")
    return n, mask, labels
