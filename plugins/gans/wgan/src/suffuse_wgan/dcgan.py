"""The convolutional generator and critic of DCGAN (Radford et al., 2015, arXiv:1511.06434), for 8x8 images and up."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Generator, Latent
from suffuse.contracts.network import Critic
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State
from suffuse_wgan.latents import Gaussian, dim_of

__all__ = ["DcganCritic", "DcganGenerator"]

Norm: TypeAlias = Literal["batch", "layer", "none"]
_NORMS = ("batch", "layer", "none")


def _side(side: int) -> str | None:
    good = isinstance(side, int) and side >= 8 and side & (side - 1) == 0
    return None if good else f"expected a power of two from 8, got {side!r}"


def _norm(kind: Norm, width: int) -> nn.Module:
    """Layer normalisation is over channels and places, with one gain a channel."""
    return {"batch": nn.BatchNorm2d, "layer": lambda w: nn.GroupNorm(1, w), "none": lambda _: nn.Identity()}[kind](
        width
    )


def _initialise(net: nn.Module) -> None:
    """Weights from N(0, 0.02^2), gains from N(1, 0.02^2), biases 0."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


@module
class DcganGenerator(Generator):
    """Transposed 4x4 convolutions from a latent vector to ``(B, channels, side, side)`` in [-1, 1].

    The first makes 4x4 places with ``width side/8`` channels; each of the others doubles the side and halves the
    channels. ReLU, tanh at the end, no biases. ``norm="none"`` is the weak generator of section 4.3 but for its
    constant number of filters.
    """

    latent: Latent = setting(factory=Gaussian, doc="the law of the latent vectors")
    channels: int = setting(3, "channels of an image", ge=1)
    side: int = setting(64, "height and width of an image, a power of two from 8", check=_side)
    width: int = setting(64, "channels of the last hidden layer", ge=1)
    norm: Norm = setting("batch", "normalisation", choices=_NORMS)

    def __attrs_post_init__(self) -> None:
        width = self.width * self.side // 8
        layers: list[nn.Module] = [nn.ConvTranspose2d(dim_of(self.latent), width, 4, bias=False)]
        while width > self.width:
            layers += [_norm(self.norm, width), nn.ReLU(), nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
            width //= 2
        last = nn.ConvTranspose2d(width, self.channels, 4, 2, 1, bias=False)
        self.layers = nn.Sequential(*layers, _norm(self.norm, width), nn.ReLU(), last, nn.Tanh())
        _initialise(self.layers)

    def check(self, cond: Condition) -> None:
        """Takes no condition."""
        if cond:
            raise InvalidInput(f"this generator takes no condition, got {sorted(cond)}")

    def forward(self, z: State, cond: Condition, *, rng: Rng | None = None) -> Tensor:
        """``(B, channels, side, side)``. Raises ``InvalidInput`` for latents of another size."""
        dim = dim_of(self.latent)
        if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] != dim:
            raise InvalidInput(f"expected latents (batch, {dim}), got {getattr(z, 'shape', type(z).__name__)}")
        x: Tensor = self.layers(z[:, :, None, None])
        return x


@module
class DcganCritic(Critic):
    """4x4 convolutions of stride 2 down to 4x4 places, and one over these; leaky ReLU of 0.2, no biases, no sigmoid.

    Batch normalisation makes a score depend on the batch in training: gradient penalties want ``layer`` or ``none``.
    """

    channels: int = setting(3, "channels of an image", ge=1)
    side: int = setting(64, "height and width of an image, a power of two from 8", check=_side)
    width: int = setting(64, "channels of the first hidden layer", ge=1)
    norm: Norm = setting("batch", "normalisation, from the second layer on", choices=_NORMS)

    def __attrs_post_init__(self) -> None:
        width, side = self.width, self.side // 2
        layers: list[nn.Module] = [nn.Conv2d(self.channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        while side > 4:
            layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False), _norm(self.norm, 2 * width), nn.LeakyReLU(0.2)]
            width, side = 2 * width, side // 2
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, bias=False))
        _initialise(self.layers)

    def forward(self, x: State, cond: Condition) -> Tensor:
        """``(B,)``. Raises ``InvalidInput`` for images of another shape."""
        shape = (self.channels, self.side, self.side)
        if not isinstance(x, Tensor) or tuple(x.shape[1:]) != shape:
            expected = ", ".join(map(str, shape))
            raise InvalidInput(f"expected images (batch, {expected}), got {getattr(x, 'shape', type(x).__name__)}")
        scores: Tensor = self.layers(x).flatten()
        return scores
