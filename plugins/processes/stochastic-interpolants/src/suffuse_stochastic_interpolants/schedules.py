"""The curves of the paper's section 4.2, in this framework's time: data at t = 0, the other end at t = 1."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Gamma", "Shape", "gamma", "shape"]

Shape = Literal["linear", "trigonometric", "encoding-decoding"]
Gamma = Literal["brownian", "quadratic", "sine-squared", "none"]

# max gamma^2 at scale 1, which all reach at t = 1/2
LARGEST: dict[Gamma, float] = {"brownian": 1 / 4, "quadratic": 1 / 16, "sine-squared": 1.0, "none": 0.0}


def gamma(name: Gamma, scale: float, t: Tensor) -> tuple[Tensor, Tensor]:
    """``(gamma^2, gamma gamma')``, both finite on [0, 1]; ``scale`` multiplies ``gamma^2``."""
    if name == "brownian":
        square, product = t * (1 - t), (1 - 2 * t) / 2
    elif name == "quadratic":
        square, product = (t * (1 - t)) ** 2, t * (1 - t) * (1 - 2 * t)
    elif name == "sine-squared":
        # sin(pi (1 - t)) is exactly 0 at t = 1, and sin(pi t) is not.
        sine = torch.where(t < 0.5, torch.sin(math.pi * t), torch.sin(math.pi * (1 - t)))
        square, product = sine**4, 2 * math.pi * sine**3 * torch.cos(math.pi * t)
    else:
        square = product = torch.zeros_like(t)
    return scale * square, scale * product


def shape(name: Shape, t: Tensor, square: Tensor, product: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``(a, b, a', b')`` of ``I = a x_0 + b x_1``, given ``gamma^2`` and ``gamma gamma'``."""
    if name == "linear":
        return 1 - t, t, -torch.ones_like(t), torch.ones_like(t)
    if name == "trigonometric":
        half = math.pi / 2
        # cos(pi/2 t) as a sine is exactly 0 at t = 1.
        cosine, sine, rest = torch.sin(half * (1 - t)), torch.sin(half * t), (1 - square).sqrt()
        return (
            rest * cosine,
            rest * sine,
            -product / rest * cosine - half * rest * sine,
            -product / rest * sine + half * rest * cosine,
        )
    wave, slope = torch.cos(math.pi * t) ** 2, -math.pi * torch.sin(2 * math.pi * t)
    first, zero = t < 0.5, torch.zeros_like(t)
    return (
        torch.where(first, wave, zero),
        torch.where(first, zero, wave),
        torch.where(first, slope, zero),
        torch.where(first, zero, slope),
    )
