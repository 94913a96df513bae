"""The schedule that all of R3GAN's settings follow."""

from __future__ import annotations

import math

__all__ = ["half_cosine"]


def half_cosine(step: float, over: float, ends: tuple[float, float]) -> float:
    """From the first of ``ends`` at step 0 to the second at step ``over``, along half a cosine; constant after."""
    first, last = ends
    return last + (first - last) * (1 + math.cos(math.pi * min(step / over, 1.0))) / 2
