"""Eight modes on a ring, whose mean is known, with a variance that is held or learned: what the claims are made on."""

from __future__ import annotations

from typing import ClassVar

import torch
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.parameterization import Eps
from suffuse_mlp.backbone import Mlp
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.space import Euclidean
from suffuse.preconditioned import Preconditioned
from suffuse.system import System
from suffuse.testing.exact import truth
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse_iddpm.denoiser import LearnedRange
from suffuse_iddpm.hybrid import Hybrid

__all__ = ["CHAIN", "RING", "held", "learned", "ring_data"]

RING = GaussianMixture.ring(8, radius=1.0, std=0.05)
CHAIN = Discrete(schedule="cosine")


@module
class _KnownEps(Backbone):
    """The ring's exact eps, and v: a number, or a small network's."""

    provides: ClassVar[frozenset[str]] = frozenset()

    v: float | None = setting(None, "v of every element; by default a network says it")

    def __attrs_post_init__(self) -> None:
        self.blocks = nn.ModuleDict()
        if self.v is None:
            self.blocks["v"] = Mlp(shape=(2,), width=32, depth=1, frequencies=16, bandwidth=2e-3)
        else:
            self.constant = nn.Parameter(torch.tensor(self.v))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """``(B, 2)`` to ``(B, 4)``."""
        alpha, sigma = CHAIN.scalars((c_noise.double() + 1) / 1000)
        eps = (-sigma[:, None] * RING.score(x.double(), alpha, sigma)).to(x.dtype)
        v = self.constant.expand_as(x) if self.v is not None else self.blocks["v"](x, c_noise, cond)
        return torch.cat([eps, v], dim=1)


def held(v: float) -> System:
    """A system whose v is this number: -1 is beta-tilde, 1 is beta."""
    system = _system(_KnownEps(v=v))
    system.model.requires_grad_(False)
    return system


def learned(seed: int, steps: int, weight: float = 1e-3) -> System:
    """A system whose v, zero at first, is learned by the hybrid objective with this weight of the bound."""
    with seeded(seed):
        system = _system(_KnownEps())
    data = rows_of(ring_data(4000, seed))
    fit(
        system, Hybrid(levels=0, weight=weight), data, steps=steps, batch=128, seed=seed, learning_rate=3e-3, decay=True
    )
    return system


def ring_data(n: int, seed: int) -> Tensor:
    """n draws from the ring, float32."""
    return truth(RING, n, seed).float()


def _system(backbone: Backbone) -> System:
    model = Preconditioned(backbone=backbone, parameterization=Eps(), trained=CHAIN)
    return System(model=LearnedRange(model=model), space=Euclidean(shape=(2,)))
