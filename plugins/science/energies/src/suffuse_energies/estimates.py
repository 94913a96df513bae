"""What log-weights ``log w = log p~(x) - log q(x)`` of draws from q say of ``log Z`` and of q."""

from __future__ import annotations

import math

from torch import Tensor

from suffuse.errors import InvalidInput

__all__ = ["effective_sample_size", "importance_log_z", "lower_bound"]


def lower_bound(log_w: Tensor) -> Tensor:
    """``mean log w``: unbiased for ``log Z - KL(q || p)``, so below ``log Z`` on average."""
    return _checked(log_w).mean()


def importance_log_z(log_w: Tensor, *, block: int | None = None) -> Tensor:
    """``log mean w`` over all n weights, or the mean of it over blocks of them.

    The exponential is unbiased for Z where q covers p. On average it is a lower bound of ``log Z`` that rises with the
    size of a block, from ``lower_bound`` at 1 (Burda et al., Importance Weighted Autoencoders, 2016, arXiv:1509.00519,
    theorem 1). Raises ``InvalidInput`` for a block that does not divide n.
    """
    n = len(_checked(log_w))
    block = n if block is None else block
    if block < 1 or n % block:
        raise InvalidInput(f"expected a block that divides {n} weights, got {block}")
    return (log_w.view(-1, block).logsumexp(1) - math.log(block)).mean()


def effective_sample_size(log_w: Tensor) -> Tensor:
    """``(sum w)^2 / (n sum w^2)``: the share of n draws that the weighted ones are worth, in (0, 1]."""
    return (2 * _checked(log_w).logsumexp(0) - (2 * log_w).logsumexp(0)).exp() / len(log_w)


def _checked(log_w: Tensor) -> Tensor:
    if log_w.ndim != 1 or not len(log_w):
        raise InvalidInput(f"expected log-weights (n,), got shape {tuple(log_w.shape)}")
    return log_w
