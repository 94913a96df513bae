"""How near a restoration comes to the truth, and to the measurement."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from suffuse.contracts.operator import Operator
from suffuse.contracts.part import setting
from suffuse.contracts.task import Example, Metric
from suffuse.errors import InvalidInput
from suffuse.state import promote, same_form
from suffuse_operators.masks import Inpaint

__all__ = ["Consistency", "Psnr", "Ssim", "consistency", "psnr", "ssim"]


def psnr(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """``10 log10(data_range^2 / mse)`` of each row, in dB, ``(B,)``; at most 120, that of equal images."""
    _pair(x, y)
    error = (x.double() - y.double()).flatten(1).square().mean(1) / data_range**2
    return -10 * error.clamp_min(1e-12).log10()


def ssim(x: Tensor, y: Tensor, data_range: float, window: int = 7) -> Tensor:
    """Structural similarity of images in [0, data_range], ``(B, C, H, W)`` to ``(B,)``, at most 1.

    Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004,
    doi:10.1109/TIP.2003.819861, equation 13 with K1 = 0.01 and K2 = 0.03; uniform windows and sample covariances, the
    defaults of scikit-image, which fit small images. The mean over windows and channels.
    """
    _pair(x, y)
    if x.ndim != 4 or min(x.shape[2:]) < window:
        raise InvalidInput(
            f"expected images (batch, channels, height, width) of at least {window} pixels a side, got "
            f"shape {tuple(x.shape)}"
        )
    x, y = x.double(), y.double()
    mx, my, xx, yy, xy = (avg_pool2d(v, window, 1) for v in (x, y, x * x, y * y, x * y))
    sample = window**2 / (window**2 - 1)
    vx, vy, cov = sample * (xx - mx * mx), sample * (yy - my * my), sample * (xy - mx * my)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    index = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return index.flatten(1).mean(1)


def consistency(operator: Operator, y: Tensor, x: Tensor) -> Tensor:
    """The root mean square of ``(y - A x) / std`` over what is seen, of each row, ``(B,)``: 1 for the truth.

    std is that of the noise, as the measurement tells it; without noise it is 1.
    """
    r, variance = y - operator.A(x), torch.as_tensor(operator.noise.variance(y))
    seen = torch.ones_like(y) * operator.seen(y)
    square = seen * r**2 / torch.where(variance > 0, variance, 1.0).to(r)
    return (square.flatten(1).sum(1) / seen.flatten(1).sum(1)).sqrt()


@attrs.frozen(kw_only=True)
class Psnr(Metric):
    """The mean peak signal-to-noise ratio of samples against their references, row by row, in dB; higher is better."""

    data_range: float = setting(1.0, "width of the data's range", gt=0)

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``psnr``. Raises ``InvalidInput`` for shapes that differ."""
        return {"psnr": float(psnr(*_tensors(samples, reference), self.data_range).mean())}


@attrs.frozen(kw_only=True)
class Ssim(Metric):
    """The mean structural similarity of samples to their references, row by row; higher is better, 1 is equality."""

    data_range: float = setting(1.0, "width of the data's range", gt=0)
    window: int = setting(7, "pixels a side of the windows", ge=2)

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``ssim``. Raises ``InvalidInput`` for shapes that differ, and images smaller than a window."""
        return {"ssim": float(ssim(*_tensors(samples, reference), self.data_range, self.window).mean())}


@attrs.frozen(kw_only=True)
class Consistency(Metric):
    """How far measurements of the samples lie from those that they were restored from, in units of the noise.

    1 is right; above, the measurement is not met; below, its noise is fitted too. Samples are states, and their
    condition's ``y`` is the measurement.
    """

    operator: Operator = setting(factory=Inpaint, doc="what measured, and its noise")

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``consistency``; the reference is not used. Raises ``InvalidInput`` for samples without ``y``."""
        if "y" not in samples.cond or not isinstance(samples.x, Tensor):
            raise InvalidInput(f"expected samples with a measurement y, got a condition on {sorted(samples.cond)}")
        return {"consistency": float(consistency(self.operator, samples.cond["y"], samples.x).mean())}


def _tensors(samples: Example, reference: Example) -> tuple[Tensor, Tensor]:
    if not isinstance(samples.x, Tensor) or not isinstance(reference.x, Tensor):
        raise InvalidInput("expected samples and references of one tensor each")
    return promote(samples.x), promote(reference.x)


def _pair(x: Tensor, y: Tensor) -> None:
    same_form(x, y, "the samples")
