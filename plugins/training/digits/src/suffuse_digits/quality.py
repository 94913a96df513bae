"""How good a system's digits are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.sampler import StepInfo
from suffuse.contracts.task import Example, Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_digits.dataset import Digits
from suffuse_digits.metrics import Accuracy, Frechet
from suffuse_digits.pictures import sheet

__all__ = ["Quality"]


@attrs.frozen(kw_only=True)
class Quality(Task):
    """Samples as many digits of each class as n train digits have, and compares them with the test digits.

    Input, optional: ``n`` (1442, all of the train split). Metrics: ``frechet`` to the test digits and
    ``frechet_of_train``, that of the n train digits themselves, which a perfect system would have; ``accuracy`` and
    ``accuracy_of_test``, of the classifier; ``nfe``, network evaluations a sample. Picture ``gallery``: a column a
    class, up to ten rows. State ``samples``. Chosen are evenly spaced train rows, so every class has its share.
    """

    needs = frozenset({"conditional"})

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs."""
        train, test = Digits(split="train"), Digits(split="test").everything()
        if unknown := set(inputs) - {"n"}:
            raise InvalidInput(f"digits/quality takes n, got {', '.join(sorted(unknown))}")
        n = inputs.get("n", len(train))
        if isinstance(n, bool) or not isinstance(n, int) or not 2 <= n <= len(train):
            raise InvalidInput(f"n must be an integer from 2 to {len(train)}, got {n!r}")
        real = train.rows(torch.arange(n) * len(train) // n, rng)
        label, evaluations = real.cond["label"], 0

        def count(_: int, info: StepInfo) -> None:
            nonlocal evaluations
            evaluations += info.nfe

        x = system.sample(cond={"label": label}, seed=rng.seed(), on_step=count)
        if not isinstance(x, Tensor) or tuple(x.shape[1:]) != (1, 8, 8):
            raise InvalidInput("expected a system of digits (1, 8, 8)")
        samples = Example(x=x.cpu(), cond=Condition(label=label))
        frechet, accuracy = Frechet(), Accuracy()
        metrics = {
            "frechet": frechet.measure(samples, test)["frechet"],
            "frechet_of_train": frechet.measure(real, test)["frechet"],
            "accuracy": accuracy.measure(samples, test)["accuracy"],
            "accuracy_of_test": accuracy.measure(test, test)["accuracy"],
            "nfe": float(evaluations),
        }
        pictures = {"gallery": gallery(samples.x, label)} if len(label.unique()) == 10 else {}
        return Result(metrics=metrics, pictures=pictures, states={"samples": samples.x})


def gallery(x: Any, label: Tensor) -> Tensor:  # noqa: ANN401 - a state
    """Data of all ten classes as a sheet of pictures, a column a class."""
    rows = min(10, int(label.bincount(minlength=10).min()))
    columns = [torch.nonzero(label == c)[:rows, 0] for c in range(10)]
    return sheet(x[torch.stack(columns, dim=1).flatten()].clamp(0, 16) / 16, columns=10)
