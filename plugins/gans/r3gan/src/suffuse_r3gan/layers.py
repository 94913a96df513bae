"""The layers of both networks: no normalisation, residual blocks that start as the identity, bilinear resampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suffuse.contracts.condition import Condition

__all__ = ["Block", "Down", "FromBasis", "ToBasis", "Up", "conv", "linear", "one_hot"]

_SLOPE = 0.2
_GAIN = math.sqrt(2 / (1 + _SLOPE**2))  # of a leaky rectifier (He et al., 2015, arXiv:1502.01852)


def conv(inputs: int, outputs: int, size: int = 1, *, groups: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """A convolution that keeps the sides, without bias, with weights from ``N(0, gain^2 / fan_in)``."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(inputs // groups * size**2))
    return layer


def linear(inputs: int, outputs: int, *, gain: float = 1.0) -> nn.Linear:
    """A dense layer without bias, initialised alike."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(inputs))
    return layer


def one_hot(cond: Condition, classes: int, like: Tensor) -> Tensor:
    """Labels as ``(B, classes)`` of the dtype of ``like``; zeros for an absent one."""
    if "label" not in cond:
        return like.new_zeros(len(like), classes)
    return F.one_hot(cond["label"].long(), classes).to(like) * cond.present("label")[:, None]


class _Bias(nn.Module):
    """A bias a channel, then a leaky rectifier of slope 0.2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.bias[:, None, None], _SLOPE)


class Block(nn.Module):
    """``x + W_3 a(W_2 a(W_1 x))``: an inverted bottleneck with a grouped 3x3 convolution, as in ResNeXt.

    W_1 and W_3 are 1x1. Weights as by fix-up (Zhang et al., 2019, arXiv:1901.09321) for a network of ``blocks``: the
    last layer is 0, the gain of the m - 1 others is ``blocks^(-1/(2 m - 2))``, here m = 3, times the rectifier's.
    """

    def __init__(self, width: int, expansion: int, cardinality: int, blocks: int) -> None:
        super().__init__()
        hidden, gain = width * expansion, _GAIN * blocks**-0.25
        self.layers = nn.Sequential(
            conv(width, hidden, gain=gain),
            _Bias(hidden),
            conv(hidden, hidden, 3, groups=cardinality, gain=gain),
            _Bias(hidden),
            conv(hidden, width, gain=0.0),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The shape of x."""
        out: Tensor = x + self.layers(x)
        return out


class _Resample(nn.Module):
    """The separable filter ``[1, 2, 1] * [1, 1] = [1, 3, 3, 1]``, of sum 1: bilinear at a factor of two."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", taps[:, None] * taps[None])
        self.mix = conv(inputs, outputs) if inputs != outputs else nn.Identity()

    def filters(self, x: Tensor) -> Tensor:
        """One filter for each channel of x."""
        return self.kernel.to(x).expand(x.shape[1], 1, 4, 4)


class Up(_Resample):
    """A 1x1 convolution where the widths differ, then twice the sides; zeros are outside."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, 2 H, 2 W)``."""
        x = self.mix(x)
        return F.conv_transpose2d(x, 4 * self.filters(x), stride=2, padding=1, groups=x.shape[1])


class Down(_Resample):
    """Half the sides, then a 1x1 convolution where the widths differ; zeros are outside."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, 2 H, 2 W)`` to ``(B, outputs, H, W)``."""
        out: Tensor = self.mix(F.conv2d(x, self.filters(x), stride=2, padding=1, groups=x.shape[1]))
        return out


class FromBasis(nn.Module):
    """A learned map of 4x4 places, each channel scaled by a linear function of the latent."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, 4, 4))
        self.scale = linear(inputs, width)

    def forward(self, z: Tensor) -> Tensor:
        """``(B, inputs)`` to ``(B, width, 4, 4)``."""
        return self.basis * self.scale(z)[:, :, None, None]


class ToBasis(nn.Module):
    """Each channel's inner product with a learned map of 4x4 places, then a linear layer."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.basis = nn.Conv2d(width, width, 4, groups=width, bias=False)
        nn.init.normal_(self.basis.weight, 0.0, 1 / 4)
        self.mix = linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width, 4, 4)`` to ``(B, outputs)``."""
        out: Tensor = self.mix(self.basis(x).flatten(1))
        return out
