"""The Dirac-GAN: the smallest adversarial game, in closed form (Mescheder et al., 2018, arXiv:1801.04406)."""

from __future__ import annotations

import cmath
import math

__all__ = ["distance_after", "eigenvalues", "field"]


def field(theta: float, psi: float, g: float) -> tuple[float, float]:
    """``(theta', psi')`` under gradient descent of both players of the relativistic loss.

    Data is the point 0, the generator the point theta, ``D(x) = psi x``. ``g`` is gamma for each of the penalties that
    is used: ``gamma/2 (R1 + R2) = gamma psi^2``.
    ``theta' = sigma(-psi theta) psi``, ``psi' = -sigma(psi theta) theta - g psi``.
    """
    share = 1 / (1 + math.exp(-psi * theta))
    return (1 - share) * psi, -share * theta - g * psi


def eigenvalues(g: float) -> tuple[complex, complex]:
    """Of the field's Jacobian at the equilibrium (0, 0): ``-g/2 +- sqrt(g^2/4 - 1/4)``.

    Imaginary for g = 0: the linearised game turns for ever. With a penalty all real parts are negative.
    """
    root = cmath.sqrt(g**2 / 4 - 0.25)
    return -g / 2 + root, -g / 2 - root


def distance_after(theta: float, psi: float, g: float, *, step: float = 0.05, steps: int = 2000) -> float:
    """How far from the equilibrium simultaneous Euler steps end."""
    for _ in range(steps):
        d_theta, d_psi = field(theta, psi, g)
        theta, psi = theta + step * d_theta, psi + step * d_psi
    return math.hypot(theta, psi)
