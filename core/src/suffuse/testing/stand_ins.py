"""Small parts that stand around the part under test. They belong to no plugin and no spec."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Parameterization, Scaling
from suffuse.contracts.network import Backbone, Codec, check_labels
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Mix
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.system import System
from suffuse.testing.mixture import GaussianMixture

__all__ = ["Circle", "Explosion", "FirstOrder", "LinearNet", "NoisePrediction", "three", "trainable_system"]


@attrs.frozen(kw_only=True)
class Circle(Gaussian):
    """``alpha = cos(pi t / 2)``, ``sigma = sin(pi t / 2)``: variance preserving, no noise at 0, no signal at 1."""

    def kernel(self, t: Tensor) -> Kernel:
        """The point on the circle."""
        return Kernel(torch.cos(t * torch.pi / 2), torch.sin(t * torch.pi / 2))

    def time(self, log_snr: Tensor) -> Tensor:
        """``(2/pi) atan(exp(-log_snr / 2))``."""
        return torch.atan(torch.exp(-as_time(log_snr) / 2)) * 2 / torch.pi


@attrs.frozen(kw_only=True)
class Explosion(Gaussian):
    """``alpha = 1``, ``sigma = 20 t``: variance exploding, the signal never vanishes."""

    def kernel(self, t: Tensor) -> Kernel:
        """Constant and linear."""
        return Kernel(torch.ones_like(t), 20 * t)

    def time(self, log_snr: Tensor) -> Tensor:
        """``exp(-log_snr / 2) / 20``."""
        return (torch.exp(-as_time(log_snr) / 2) / 20).clamp(0, 1)


@attrs.frozen(kw_only=True)
class FirstOrder(Sampler):
    """``x_s = alpha_s x0 + sigma_s eps``: the simplest solver of the probability flow, to try guidance with."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    order: ClassVar[int | None] = 1

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One evaluation."""
        assert isinstance(system.process, Gaussian)
        p = system.denoise(carry.x, t, carry.cond, s=s, rng=rng)
        alpha, sigma = system.process.scalars(s)
        x = combine(alpha, p.x0, sigma, p.eps)
        return carry.advance(x), StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=p.nfe)


@attrs.frozen(kw_only=True)
class NoisePrediction(Parameterization):
    """The output is eps, the input x_t, the conditioning t."""

    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        """``(0, 1)``."""
        return 0.0, 1.0

    def scaling(self, process: Gaussian, t: Tensor) -> Scaling:
        """``(1, t)``."""
        return Scaling(1.0, t)


@module
class LinearNet(Backbone):
    """A linear map of (x, c_noise, label) for vectors: the smallest network that trains."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    dim: int = setting(2, "the vectors' dimension", ge=1)
    classes: int = setting(0, "labels; 0 for none", ge=0)

    def __attrs_post_init__(self) -> None:
        self.blocks = nn.ModuleDict({"main": nn.Linear(self.dim + 1, self.dim)})
        self.label = nn.Embedding(self.classes + 1, self.dim)

    @property
    def shape(self) -> tuple[int, ...]:
        """One input's shape."""
        return (self.dim,)

    @property
    def gives(self) -> frozenset[str]:
        """``conditional`` where there are classes."""
        return frozenset({"conditional"} if self.classes else ())

    def check(self, cond: Condition) -> None:
        """Labels must exist."""
        check_labels(cond, self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """``W [x, c_noise] + e_label``."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise InvalidInput(f"expected inputs (batch, {self.dim}), got {tuple(x.shape)}")
        out = self.run("main", torch.cat([x, c_noise[:, None].to(x.dtype)], dim=1))
        null = torch.full((len(x),), self.classes, device=x.device)
        at = torch.where(cond.present("label"), cond["label"], null) if "label" in cond else null
        shift: Tensor = self.label(at)
        return out + shift


@cache
def three(dim: int = 2) -> GaussianMixture:
    """Three labelled components, wide enough that a hundred steps of any solver resolve them."""
    g = torch.Generator().manual_seed(3)
    means = torch.randn(3, dim, generator=g, dtype=torch.float64) * 1.5
    return GaussianMixture(
        weights=torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        means=means,
        covariances=torch.full((3,), 0.25, dtype=torch.float64),
        labels=torch.arange(3),
    )


def trainable_system(process: Gaussian, *, codec: Codec, dim: int = 2, classes: int = 3) -> System:
    """A system whose model trains."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = LinearNet(dim=dim, classes=classes)
    model = Preconditioned(backbone=net, parameterization=NoisePrediction(), trained=process)
    return System(model=model, space=Euclidean(shape=(dim,)), codec=codec)
