"""The networks: drift and flow, and the gain of the Langevin term."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput

__all__ = ["FourierMlp", "Gain"]


class _Clock(nn.Module):
    """Sines and cosines of a time in [0, 1], at frequencies 0.1 ... 100 radians and learned phases."""

    frequency: Tensor

    def __init__(self, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.linspace(0.1, 100.0, frequencies))
        self.phase = nn.Parameter(torch.randn(frequencies))

    def forward(self, t: Tensor) -> Tensor:
        """``(B,)`` to ``(B, 2 frequencies)``."""
        angles = t.to(torch.promote_types(t.dtype, torch.float32))[:, None] * self.frequency + self.phase
        return torch.cat([angles.sin(), angles.cos()], dim=1).to(self.phase.dtype)


@module
class FourierMlp(Backbone):
    """``W_out gelu(W_L ... gelu(W_x x + e(t)))`` with Fourier features of the time: the paper's network.

    From Zhang and Chen, Path Integral Sampler, 2022, arXiv:2111.15141; sizes of Sendera et al., 2024,
    arXiv:2402.05098. ``x (B, dim)`` to ``(B, outputs)``; ``c_noise (B,)`` is a time in [0, 1]. The output is exactly
    zero at initialisation. Blocks ``layer0``, ``layer1``, ...: ``(B, hidden)`` to itself.
    """

    dim: int = setting(2, "dimensions of a state", ge=1)
    outputs: int | None = setting(None, "dimensions of the output; those of a state by default", ge=1)
    hidden: int = setting(64, "hidden units", ge=1)
    layers: int = setting(2, "hidden layers", ge=0)
    frequencies: int = setting(64, "frequencies of the time's features", ge=2)

    def __attrs_post_init__(self) -> None:
        h = self.hidden
        self.first, self.last = nn.Linear(self.dim, h), nn.Linear(h, self.outputs or self.dim)
        self.time = nn.Sequential(
            _Clock(self.frequencies), nn.Linear(2 * self.frequencies, h), nn.GELU(), nn.Linear(h, h)
        )
        layers = {f"layer{i}": nn.Sequential(nn.Linear(h, h), nn.GELU()) for i in range(self.layers)}
        self.blocks = nn.ModuleDict(layers)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(dim,)``."""
        return (self.dim,)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The raw output."""
        if x.ndim != 2 or x.shape[1] != self.dim or c_noise.shape != x.shape[:1]:
            raise InvalidInput(
                f"expected x (batch, {self.dim}) and c_noise (batch,), got {tuple(x.shape)} and {tuple(c_noise.shape)}"
            )
        h = F.gelu(self.first(x) + self.time(c_noise))
        for name in self.blocks:
            h = self.run(name, h)
        out: Tensor = self.last(h)
        return out


class Gain(nn.Module):
    """A number for each time ``(B,)``: three layers on the time's features, 0.01 at initialisation."""

    def __init__(self, hidden: int = 64, frequencies: int = 64, layers: int = 3) -> None:
        super().__init__()
        sizes = [2 * frequencies, *[hidden] * layers]
        body = [nn.Sequential(nn.Linear(a, b), nn.GELU()) for a, b in pairwise(sizes)]
        self.net = nn.Sequential(_Clock(frequencies), *body, nn.Linear(hidden, 1))
        nn.init.zeros_(self.net[-1].weight)
        nn.init.constant_(self.net[-1].bias, 0.01)

    def forward(self, t: Tensor) -> Tensor:
        """``(B,)`` to ``(B, 1)``."""
        out: Tensor = self.net(t)
        return out
