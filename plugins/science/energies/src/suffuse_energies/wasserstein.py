"""The Wasserstein distance of two samples."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from suffuse.contracts.task import Example, Metric
from suffuse.errors import InvalidInput

__all__ = ["Wasserstein", "wasserstein2"]


@attrs.frozen(kw_only=True)
class Wasserstein(Metric):
    """``W_2`` of two samples of equal size n, by optimal assignment; it takes about 1 s for 2000 vectors."""

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``w2``: lower is better. Two samples of one law do not give 0: compare with what they give."""
        if not isinstance(samples.x, Tensor) or not isinstance(reference.x, Tensor):
            raise InvalidInput("the Wasserstein distance takes samples that are one tensor each")
        return {"w2": wasserstein2(samples.x, reference.x)}


def wasserstein2(x: Tensor, y: Tensor) -> float:
    """``min over permutations of (mean |x_i - y_pi(i)|^2)^(1/2)``, ``(n, *event)`` both.

    Raises ``InvalidInput`` for samples of different shapes.
    """
    if x.shape != y.shape or x.ndim < 2 or not len(x):
        raise InvalidInput(f"expected two samples of one shape (n, *event), got {tuple(x.shape)} and {tuple(y.shape)}")
    squares = torch.cdist(x.detach().double().flatten(1), y.detach().double().flatten(1)).square().cpu().numpy()
    rows, columns = linear_sum_assignment(squares)
    return float(squares[rows, columns].mean() ** 0.5)
