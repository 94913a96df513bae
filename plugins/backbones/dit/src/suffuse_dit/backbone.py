"""The diffusion transformer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone, check_labels
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput, SpecError
from suffuse_dit.blocks import Block, Final, NoiseEmbedding
from suffuse_dit.patches import patchify, sincos_positions, unpatchify

__all__ = ["DiT"]


def _two(size: tuple[int, int]) -> str | None:
    good = isinstance(size, tuple | list) and len(size) == 2 and min(size) >= 1
    return None if good else f"expected (height, width), both at least 1, got {size!r}"


@module
class DiT(Backbone):
    """A transformer on the patches of an image or latent, steered by noise level and label through adaLN-Zero.

    Peebles and Xie, Scalable Diffusion Models with Transformers, 2023, arXiv:2212.09748, section 3.2 and figure 3:
    patches, a linear embedding with fixed sine-cosine positions, ``depth`` blocks, an adaptive last layer.
    ``x (B, channels, *size)``, ``c_noise (B,)``; the output is ``(B, out_channels, *size)``, and exactly zero at
    initialisation.

    The conditioning of every block is the sum of the embeddings of noise level and label. With ``classes`` there is
    one embedding more, the null class, for rows whose label is absent. The sinusoids of ``c_noise`` are made for
    step numbers such as 0 ... 999; ``noise_scale`` brings others, such as times in [0, 1], into that range.

    Blocks ``block0``, ``block1``, ...: tokens ``(B, N, width)`` and c ``(B, width)`` to tokens, for any N.

    Raises ``SpecError`` for a size that patches do not tile, a width that heads do not divide or that is no multiple
    of 4; ``InvalidInput`` for a state of another shape.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    channels: int = setting(4, "channels of a state", ge=1)
    size: tuple[int, int] = setting((32, 32), "height and width of a state", check=_two)
    patch: int = setting(2, "side of a patch", ge=1)
    width: int = setting(1152, "length of a token", ge=4)
    depth: int = setting(28, "number of blocks", ge=1)
    heads: int = setting(16, "attention heads", ge=1)
    mlp_ratio: float = setting(4.0, "hidden units of a block's network, in widths", gt=0)
    classes: int = setting(0, "number of labels; 0 is unconditional", ge=0)
    out_channels: int | None = setting(None, "channels of the output; twice the state's for a learned variance", ge=1)
    noise_scale: float = setting(1.0, "factor before the sinusoids of c_noise", gt=0)

    def __attrs_post_init__(self) -> None:
        p, width = self.patch, self.width
        if any(n % p for n in self.size):
            raise SpecError(f"size must be divisible by patch={p}, got {tuple(self.size)}")
        if width % self.heads or width % 4:
            raise SpecError(f"width must be divisible by heads={self.heads} and by 4, got {width}")
        self.embed = nn.Linear(p * p * self.channels, width)
        self.register_buffer("positions", sincos_positions(self.size[0] // p, self.size[1] // p, width))
        self.noise = NoiseEmbedding(width)
        self.labels = nn.Embedding(self.classes + 1, width) if self.classes else None
        hidden = int(width * self.mlp_ratio)
        self.blocks = nn.ModuleDict({f"block{i}": Block(width, self.heads, hidden) for i in range(self.depth)})
        self.final = Final(width, p * p * (self.out_channels or self.channels))
        self._initialise()

    @property
    def gives(self) -> frozenset[str]:
        """``conditional``, where there are classes."""
        return frozenset({"conditional"}) if self.classes else frozenset()

    def check(self, cond: Condition) -> None:
        """Labels of the known classes, or nothing."""
        check_labels(cond, self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The raw output."""
        expected = (self.channels, *self.size)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected or c_noise.shape != x.shape[:1]:
            raise InvalidInput(
                f"expected x of shape (batch, {', '.join(map(str, expected))}) and c_noise of shape (batch,), "
                f"got {tuple(x.shape)} and {tuple(c_noise.shape)}"
            )
        c = self.noise(c_noise * self.noise_scale)
        if self.labels is not None:
            c = c + self.labels(self._rows_of(cond, x))
        tokens = self.embed(patchify(x, self.patch)) + self.positions
        for name in self.blocks:
            tokens = self.run(name, tokens, c)
        return unpatchify(self.final(tokens, c), self.patch, self.size)

    def _rows_of(self, cond: Condition, x: Tensor) -> Tensor:
        if "label" not in cond:
            return torch.full((len(x),), self.classes, device=x.device)
        return torch.where(cond.present("label"), cond["label"], self.classes)

    def _initialise(self) -> None:
        """Xavier's uniform weights, small normal embeddings, and zeros for all modulations and the last layer."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        embeddings = [self.noise.mlp[0].weight, self.noise.mlp[2].weight]
        for weight in embeddings if self.labels is None else [*embeddings, self.labels.weight]:
            nn.init.normal_(weight, std=0.02)
        zeros = [block.modulation[1] for block in self.blocks.values()]
        for linear in (*zeros, self.final.modulation[1], self.final.linear):
            nn.init.zeros_(linear.weight)
