"""Small matrices that act on the variables of a state, the same for every element of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from suffuse.errors import InvalidInput
from suffuse.state import State, promote

__all__ = ["act", "cholesky", "root", "stack", "transition"]


def transition(F: Tensor, P: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``Phi = exp(F b)`` and ``S = int_0^b exp(F s) P exp(F s)^T ds`` of ``du = F u db + P^{1/2} dw``.

    F and P are ``(K, K)``, b is ``()`` or ``(B,)``, the results ``(*b.shape, K, K)``. With
    ``exp([[F, P], [0, -F^T]] h) = [[Phi, C], [0, Phi^{-T}]]`` it is ``S = C Phi^T`` (Van Loan, Computing Integrals
    Involving the Matrix Exponential, 1978, doi:10.1109/TAC.1978.1101743), taken at ``h = b / 2^n`` so small that no
    exponential grows. ``S(2h) = S(h) + Phi(h) S(h) Phi(h)^T`` then leads back to b: sums of positive matrices, which
    lose no digit where S is nearly singular.
    """
    k = len(F)
    size = float(torch.linalg.matrix_norm(F.detach()) * b.detach().abs().max())
    n = max(0, math.ceil(math.log2(2 * size))) if size > 0 else 0
    block = torch.cat([torch.cat([F, P], 1), torch.cat([torch.zeros_like(F), -F.mT], 1)])
    e = torch.linalg.matrix_exp(block * (b / 2**n)[..., None, None])
    phi = e[..., :k, :k]
    s = e[..., :k, k:] @ phi.mT
    for _ in range(n):
        phi, s = phi @ phi, s + phi @ s @ phi.mT
    return phi, (s + s.mT) / 2


def cholesky(S: Tensor) -> Tensor:
    """The lower triangular L with ``L L^T = S``, positive semidefinite: a pivot of zero makes a column of zeros."""
    k = S.shape[-1]
    zero = torch.zeros_like(S[..., 0, 0])
    rows = [[zero] * k for _ in range(k)]
    for j in range(k):
        for i in range(j, k):
            rest = S[..., i, j] - sum((rows[i][m] * rows[j][m] for m in range(j)), zero)
            if i == j:
                positive = rest > 0
                pivot = torch.where(positive, rest, 1.0).sqrt()
            rows[i][j] = torch.where(positive, rest / pivot, 0.0)
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def root(S: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(S)
    return (vectors * values.clamp_min(0).sqrt()[..., None, :]) @ vectors.mT


def stack(x: State) -> Tensor:
    """``(B, K, E)``: the K variables of a state, flattened, in at least float32; a plain tensor is one variable."""
    leaves = list(x.values()) if isinstance(x, Mapping) else [x]
    return torch.stack([promote(v).flatten(1) for v in leaves], 1)


def act(A: Tensor, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``A x`` over the variables, for A of shape ``(K, K)`` or ``(B, K, K)``."""
    wide = stack(x)
    if A.ndim == 3 and len(A) != len(wide):
        shape = tuple(next(iter(x.values())).shape)
        raise InvalidInput(
            f"a time of shape ({len(A)},) does not fit a state of shape {shape}: expected () or (batch,)"
        )
    out = A.to(wide) @ wide
    return {name: out[:, i].reshape(v.shape) for i, (name, v) in enumerate(x.items())}
