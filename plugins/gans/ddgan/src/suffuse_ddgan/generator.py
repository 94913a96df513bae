"""A backbone with a latent: a random denoiser."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from suffuse_wgan.latents import Gaussian as GaussianLatent
from suffuse_wgan.latents import dim_of
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser, Latent
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Draw
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, promote
from suffuse_ddgan.chain import planes, published, step_of

__all__ = ["LatentGenerator"]


class _PixelNorm(nn.Module):
    """``z / sqrt(mean(z^2))``."""

    def forward(self, z: Tensor) -> Tensor:
        return z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()


@module
class LatentGenerator(Denoiser):
    """``x_0 = G(x_t, t, z)`` with ``z ~ N(0, I)``: a draw from an implicit ``p(x_0 | x_t)``, of any shape.

    Xiao et al., Tackling the Generative Learning Trilemma with Denoising Diffusion GANs, 2022, arXiv:2112.07804,
    section 3.2: ``p(x_{t-1} | x_t) = int p(z) q(x_{t-1} | x_t, x_0 = G(x_t, t, z)) dz``. A mapping network (z
    normalised, then ``depth + 1`` layers of ``width`` units with SiLU) makes of z the numbers that the backbone sees as
    ``width`` constant channels behind those of x_t; it is told ``c_noise = k - 1`` at t = k/T. So any backbone of
    ``C + width`` channels with C outputs serves: ``Mlp(shape=(2 + width,), outputs=2)``.

    State ``(B, C, *size)``, of unit variance. The latent's stream is ``latent``: the same rng gives the same draw.
    Raises ``Unsupported`` at other times and under another process than those of training, ``InvalidInput`` without
    an rng.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"draw", "conditional"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    backbone: Backbone = setting(doc="takes the channels of x_t and width more, gives those of x_0")
    latent: Latent = setting(factory=GaussianLatent, doc="the law of z, vectors")
    T: int = setting(4, "steps of the chain", ge=1)
    width: int = setting(256, "units of the mapping network, and channels of its output", ge=1)
    depth: int = setting(4, "its layers behind the first", ge=0)
    output: Literal["tanh", "linear"] = setting("tanh", "last nonlinearity", choices=("tanh", "linear"))
    trained: Gaussian = setting(factory=published, doc="the process of training")

    def __attrs_post_init__(self) -> None:
        layers: list[nn.Module] = [_PixelNorm(), nn.Linear(dim_of(self.latent), self.width), nn.SiLU()]
        for _ in range(self.depth):
            layers += [nn.Linear(self.width, self.width), nn.SiLU()]
        self.mapping = nn.Sequential(*layers)

    @property
    def gives(self) -> frozenset[str]:
        """``draw``, and ``conditional`` where the backbone takes labels."""
        return frozenset({"draw"}) | (self.backbone.gives & {"conditional"})

    def check(self, cond: Condition) -> None:
        """The backbone's check."""
        self.backbone.check(cond)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Draw:
        """One draw for each row."""
        if process != self.trained:
            raise Unsupported(f"this generator knows {self.trained}, got {process}")
        if not isinstance(x_t, Tensor) or x_t.ndim < 2:
            raise InvalidInput(
                f"expected a state (batch, channels, ...), got {getattr(x_t, 'shape', type(x_t).__name__)}"
            )
        if rng is None:
            raise InvalidInput("a random denoiser needs an rng, got none")
        x, k = promote(x_t), step_of(t, self.T)
        weight = self.mapping[1].weight
        z = self.latent.law(len(x), dtype=weight.dtype, device=x.device).sample(rng.at("latent"))
        inputs = torch.cat([x.to(weight.dtype), planes(self.mapping(z), x.to(weight.dtype))], dim=1)
        c_noise = (k - 1).to(x.device, torch.promote_types(weight.dtype, torch.float32))
        raw = self.backbone(inputs, c_noise.expand(len(x)), cond).to(x.dtype)
        return Draw(value=raw.tanh() if self.output == "tanh" else raw, x_t=x, t=as_time(t))
