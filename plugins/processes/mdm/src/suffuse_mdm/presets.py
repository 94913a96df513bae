"""Known processes as matrices (Singhal et al. 2023, arXiv:2302.07261, table 1 and appendix)."""

from __future__ import annotations

from suffuse_mdm.process import LinearSde

__all__ = ["alda", "cld", "malda", "vpsde"]


def vpsde(**settings: float) -> LinearSde:
    """One variable, ``Q = 0``, ``D = 1/2``: ``dx = -beta/2 x dt + sqrt(beta) dw`` (Song et al., arXiv:2011.13456)."""
    return LinearSde(Q=((0.0,),), D=((0.5,),), **settings)


def cld(*, M: float = 1.0, **settings: float) -> LinearSde:
    """Critically damped Langevin, ``Gamma = 2 sqrt(M)`` (Dockhorn et al. 2022, arXiv:2112.07068)."""
    return LinearSde(Q=((0.0, -1.0), (1.0, 0.0)), D=((0.0, 0.0), (0.0, 2 * M**0.5)), M=M, **settings)


def alda(*, M: float = 1.0, gamma: float = 1.0, psi: float = 1.0, **settings: float) -> LinearSde:
    """Accelerated, third-order Langevin (Mou et al. 2019, arXiv:1908.10859): noise in the last variable alone."""
    Q = ((0.0, -M, 0.0), (M, 0.0, -gamma), (0.0, gamma, 0.0))
    return LinearSde(Q=Q, D=((0.0,) * 3, (0.0,) * 3, (0.0, 0.0, psi * M)), M=M, **settings)


def malda(*, K: int = 3, M: float = 1.0, **settings: float) -> LinearSde:
    """Modified accelerated Langevin: every pair of variables turns, noise in all but the data."""
    Q = tuple(tuple(float((i > j) - (i < j)) for j in range(K)) for i in range(K))
    D = tuple(tuple(2 * M**0.5 if i == j > 0 else 0.0 for j in range(K)) for i in range(K))
    return LinearSde(Q=Q, D=D, M=M, **settings)
