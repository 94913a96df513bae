"""Operators that the Fourier transform makes simple: periodic blur, and measurements of the spectrum itself.

Their real singular vectors are those of the Hartley transform ``Re F - Im F`` (F unitary), which is orthonormal,
symmetric, its own inverse, and diagonal for every real, even and periodic kernel.
"""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from suffuse.contracts.operator import Noise, Svd, SvdOperator
from suffuse.contracts.part import setting
from suffuse.rng import Rng
from suffuse_operators.inputs import RANK, image, kept, trailing
from suffuse_operators.noise import GaussianNoise

__all__ = ["Fourier", "MotionBlur", "fourier", "hartley", "inverse_fourier"]


def fourier(x: Tensor) -> Tensor:
    """The unitary transform over the last two dimensions."""
    return torch.fft.fft2(x, norm="ortho")


def inverse_fourier(z: Tensor) -> Tensor:
    """The real part of its inverse."""
    return torch.fft.ifft2(z, norm="ortho").real


def hartley(x: Tensor) -> Tensor:
    """``Re F x - Im F x``: orthonormal and its own inverse."""
    z = fourier(x)
    return z.real - z.imag


def _spectral(x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Where s, one value a frequency ``(H, W)``, is above the rank's tolerance, for each channel; and s there."""
    every = s.expand(x.shape[1:]).flatten()
    index = (every > RANK * every.max()).nonzero()[:, 0]
    return index, every[index]


def _put(z: Tensor, index: Tensor, like: Tensor) -> Tensor:
    """Coefficients at their frequencies, zeros elsewhere, back in space."""
    return hartley(z.new_zeros(len(z), like[0].numel()).index_copy(1, index, z).unflatten(1, like.shape[1:]))


@attrs.frozen(kw_only=True)
class MotionBlur(SvdOperator):
    """Periodic convolution with the path of a shaken camera: ``A x = F^* (h . F x)``.

    The path is a random walk of ``length`` pixels whose direction turns by a normal angle of standard deviation
    ``intensity pi/4`` a pixel: 0 is a straight line. It is centred at its mean. With h = |h| p the decomposition is
    ``A = (P V) |h| V^T``, V the Hartley transform and P the rotation by the phase p.
    """

    length: float = setting(15.0, "of the path, in pixels", gt=0)
    intensity: float = setting(0.5, "how erratic the path is; 0 is a straight line", ge=0)
    seed: int = setting(0, "of the path", ge=0)
    noise: Noise = setting(factory=GaussianNoise, doc="of each pixel")

    def A(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        x = image(x, self)
        return inverse_fourier(fourier(x) * self._transfer(x)[0])

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Correlation with the kernel."""
        y = image(y, self)
        return inverse_fourier(fourier(y) * self._transfer(y)[0].conj())

    def svd(self, x: Tensor) -> Svd:
        """One singular value a frequency and channel: |h|."""
        x = image(x, self)
        h, phase = self._transfer(x)
        index, s = _spectral(x, h.abs())
        return Svd(
            s=s,
            V=lambda z: _put(z, index, x),
            V_adjoint=lambda v: hartley(v).flatten(1)[:, index],
            U=lambda z: inverse_fourier(fourier(_put(z, index, x)) * phase),
            U_adjoint=lambda v: hartley(inverse_fourier(fourier(v) * phase.conj())).flatten(1)[:, index],
        )

    def kernel(self, height: int, width: int) -> Tensor:
        """The kernel, periodic, its origin in the corner: float64 ``(H, W)``, sum 1."""
        points = max(2, round(8 * self.length))
        turns = Rng.of(self.seed, 1).at("turns").normal(torch.empty(1, points, dtype=torch.float64))[0]
        angle = (turns * (self.length / points) ** 0.5 * self.intensity * torch.pi / 4).cumsum(0)
        angle = angle + 2 * torch.pi * Rng.of(self.seed, 1).at("start").uniform(turns[:1])
        path = torch.stack([angle.sin(), angle.cos()]).cumsum(1) * self.length / points
        path = path - path.mean(1, keepdim=True)
        kernel = torch.zeros(height, width, dtype=torch.float64)
        low = path.floor()
        for dy in (0, 1):
            for dx in (0, 1):  # each point is shared by the four pixels around it
                corner = low + torch.tensor([[dy], [dx]])
                weight = (1 - (path - corner).abs()).prod(0) / points
                row, column = corner.long()
                kernel.index_put_((row % height, column % width), weight, accumulate=True)
        return kernel

    def _transfer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return _transfer(self, *x.shape[2:], x.dtype, x.device)


@kept
def _transfer(
    operator: MotionBlur, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The kernel's transform h, and its phase, 1 where h = 0."""
    h = torch.fft.fft2(operator.kernel(height, width))
    phase = torch.where(h.abs() > 0, h / h.abs(), 1.0)
    kind = torch.complex(torch.empty(0, dtype=dtype), torch.empty(0, dtype=dtype)).dtype
    return h.to(device, kind), phase.to(device, kind)


@attrs.frozen(kw_only=True)
class Fourier(SvdOperator):
    """Columns of the unitary Fourier transform of real images, as a magnetic resonance scanner sees them.

    ``(B, C, H, W)`` to ``(B, C, 2, H, W)``: real and imaginary parts, zeros where a column is not seen. Of the W
    columns ``round(keep W)`` are seen: the ``round(centre W)`` of lowest frequency (at least one), others at random.

    A real image's transform at -k is the conjugate of that at k, so a frequency is seen twice, once or never, and the
    singular values are 1, sqrt(1/2) or 0, with the singular vectors of the Hartley transform.
    """

    keep: float = setting(0.5, "share of the columns that is seen", gt=0, le=1)
    centre: float = setting(0.1, "share of the columns that is always seen, around frequency 0", ge=0, le=1)
    seed: int = setting(0, "of the other columns", ge=0)
    noise: Noise = setting(factory=GaussianNoise, doc="of each real and imaginary part that is seen")

    def columns(self, x: Tensor) -> Tensor:
        """1 for columns that are seen, else 0: ``(W,)``."""
        return _columns(self, x.shape[-1], x.dtype, x.device)

    def seen(self, y: Tensor) -> Tensor:
        """The columns."""
        return self.columns(y)

    def A(self, x: Tensor) -> Tensor:
        """``m F x``."""
        x = image(x, self)
        z = fourier(x)
        return torch.stack([z.real, z.imag], 2) * self.columns(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """``Re F^* m y``."""
        y = trailing(y, (2, *y.shape[-2:]), self) * self.columns(y)
        return inverse_fourier(torch.complex(*y.unbind(-3)))

    def svd(self, x: Tensor) -> Svd:
        """``s^2`` is the mean of the mask at k and at -k; ``U = A V / s``."""
        x = image(x, self)
        m = self.columns(x)
        twice = (m + m.roll(-1).flip(0)) / 2
        index, s = _spectral(x, twice.sqrt())
        return Svd(
            s=s,
            V=lambda z: _put(z, index, x),
            V_adjoint=lambda v: hartley(v).flatten(1)[:, index],
            U=lambda z: self.A(_put(z / s, index, x)),
            U_adjoint=lambda v: hartley(self.A_adjoint(v)).flatten(1)[:, index] / s,
        )


@kept
def _columns(operator: Fourier, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    frequency = torch.fft.fftfreq(width, dtype=torch.float64).abs()
    order = Rng.of(operator.seed, 1).at("columns").permutation(width)[0] + width
    lowest = frequency.argsort(stable=True)[: max(1, round(operator.centre * width))]
    order[lowest] = torch.arange(len(lowest))  # these come first
    seen = order.argsort().argsort() < max(1, round(operator.keep * width))
    return seen.to(device, dtype)
