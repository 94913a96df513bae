"""Random words from a counter, and numbers from words, by operations that IEEE 754 defines to the last bit.

Only integer arithmetic and float64 ``+ - * /`` are used, one rounding each, so every device, vector width, thread count
and library version gives the same bits. Library ``log``, ``cos`` and, on some devices, ``sqrt`` do not: their last bit
may differ between a vectorised loop and its tail, that is, with the position in the batch. (A compiler that fuses
``a * b + c`` gives up that last bit too.)
"""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["MASK", "Words", "exponential", "fraction", "log", "normal", "philox", "philox_integers", "scaled", "sqrt"]

Words: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]

MASK = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def philox(index: Tensor, tag: int, keys: Tensor) -> Words:
    """Philox4x32-10: four 32-bit words for each key and index, in int64 tensors ``(B, n)``.

    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). The counter's words 0 and 1
    are the 64 bits of ``index`` (int64, ``(n,)``), words 2 and 3 those of ``tag``; low words first.
    ``keys`` is int64 ``(B, 2)``, words in [0, 2**32).
    """
    k0, k1 = keys[:, :1], keys[:, 1:]
    # Six buffers for all rounds: fresh memory would cost more than the arithmetic.
    buffers = [torch.empty((len(keys), len(index)), dtype=torch.int64, device=keys.device) for _ in range(6)]
    c0, c1, c2, c3, p0, p1 = buffers
    c0.copy_(index & MASK)
    c1.copy_((index >> 32) & MASK)
    c2.fill_(tag & MASK)
    c3.fill_(tag >> 32)
    for r in range(10):
        torch.mul(c0, _M0, out=p0)
        torch.mul(c2, _M1, out=p1)
        # Only the words that are multiplied next must be clean above bit 31: one mask for the shift, the key and c.
        torch.bitwise_right_shift(p1, 32, out=c0)
        c0.bitwise_xor_(c1).bitwise_xor_(k0 + r * _W0).bitwise_and_(MASK)
        torch.bitwise_right_shift(p0, 32, out=c2)
        c2.bitwise_xor_(c3).bitwise_xor_(k1 + r * _W1).bitwise_and_(MASK)
        c1, c3, p0, p1 = p1, p0, c3, c1
    return c0, c1.bitwise_and_(MASK), c2, c3.bitwise_and_(MASK)


def philox_integers(index: int, tag: int, k0: int, k1: int) -> tuple[int, int, int, int]:
    """The same four words of one index and one key, in plain integers: for a few, much faster than in tensors."""
    c0, c1, c2, c3 = index & MASK, index >> 32, tag & MASK, tag >> 32
    for r in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1 = (p1 >> 32) ^ c1 ^ ((k0 + r * _W0) & MASK), p1 & MASK
        c2, c3 = (p0 >> 32) ^ c3 ^ ((k1 + r * _W1) & MASK), p0 & MASK
    return c0, c1, c2, c3


def scaled(high: Tensor, low: Tensor, span: int) -> Tensor:
    """``floor(w span / 2**64)`` of the 64-bit word w, for ``1 <= span <= 2**32``: an integer in [0, span)."""
    return (
        high.mul_(span)
        .add_(low.mul_(span).bitwise_right_shift_(32).bitwise_and_(MASK))
        .bitwise_right_shift_(32)
        .bitwise_and_(MASK)
    )


def fraction(high: Tensor, low: Tensor, bits: int, *, inside: bool = False) -> Tensor:
    """The leading ``bits <= 53`` of a 64-bit word as a float64 in [0, 1), exact in any dtype with that precision.

    ``inside`` sets the last bit: (0, 1).
    """
    k = high.bitwise_left_shift_(21).bitwise_or_(low >> 11)
    if bits < 53:
        k.bitwise_right_shift_(53 - bits)
    if inside:
        k.bitwise_or_(1)
    return k.to(torch.float64).mul_(2.0**-bits)


_ONE = 0x3FF0000000000000  # the bits of 1.0
# The bits of sqrt(1/2): an exponent counted from there leaves a mantissa in [sqrt(1/2), sqrt(2)).
_ROOT_HALF = 0x3FE6A09E667F3BCD


def log(x: Tensor) -> Tensor:
    """Natural logarithm of positive normal float64 numbers, to about two units in the last place.

    ``x = 2**k m``, ``s = (m - 1)/(m + 1)``, ``log x = k log 2 + 2 (s + s**3/3 + ... + s**19/19)``; what is cut off is
    below 2**-54 of the sum as ``|s| < 0.172``.
    """
    i = x.view(torch.int64)
    k = (i - _ROOT_HALF).bitwise_right_shift_(52)
    m = (i - (k << 52)).view(torch.float64)
    s = (m - 1.0).div_(m.add_(1.0))
    z = torch.mul(s, s, out=m)
    series = z * (2.0 / 19.0)
    for n in (17, 15, 13, 11, 9, 7, 5, 3):
        series.add_(2.0 / n).mul_(z)
    return series.add_(2.0).mul_(s).add_(k.to(torch.float64).mul_(math.log(2.0)))


def sqrt(x: Tensor) -> Tensor:
    """Square root of positive normal float64 numbers, to a unit in the last place, by four steps of Newton.

    The guess, from halving the exponent, is off by at most 6.1 %, then 1.8e-3, 1.6e-6, 1.3e-12, 9e-25. (torch's own
    square root on the CPU is that of a vector library, and not always correctly rounded.)
    """
    y = (x.view(torch.int64) >> 1).add_(_ONE >> 1).view(torch.float64)
    for _ in range(4):
        y.add_(x / y).mul_(0.5)
    return y


def exponential(high: Tensor, low: Tensor) -> Tensor:
    """A standard exponential, ``-log u``, in (1e-16, 36.8)."""
    return log(fraction(high, low, 53, inside=True)).neg_()


def normal(w0: Tensor, w1: Tensor, w2: Tensor, w3: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normals: Box and Muller, "A note on the generation of random normal deviates" (1958).

    ``(r cos a, r sin a)`` with ``r**2 = -2 log u``, the angle uniform on the right half-plane, then a sign for both.
    With ``tan(a/2) = p/q``, the eighth convergent of Lambert's continued fraction (off by less than 5e-16),
    ``cos a = (q**2 - p**2)/(q**2 + p**2)`` and ``sin a = 2 p q/(q**2 + p**2)``. The largest radius is 8.57.
    """
    r = sqrt(exponential(w0, w1).mul_(2.0))
    r.view(torch.int64).bitwise_xor_(w3 << 63)
    half = w2.bitwise_left_shift_(21).bitwise_or_(w3.bitwise_right_shift_(11)).bitwise_or_(1).sub_(1 << 52)
    x = half.to(torch.float64).mul_(math.pi / 4 * 2.0**-52)
    z = x * x
    p = (z * -36.0).add_(6930.0).mul_(z).add_(-270270.0).mul_(z).add_(2027025.0).mul_(x)
    q = (z - 630.0).mul_(z).add_(51975.0).mul_(z).add_(-945945.0).mul_(z).add_(2027025.0)
    pp, qq = torch.mul(p, p, out=x), torch.mul(q, q, out=z)
    r.div_(qq + pp)
    return qq.sub_(pp).mul_(r), p.mul_(q).mul_(2.0).mul_(r)
