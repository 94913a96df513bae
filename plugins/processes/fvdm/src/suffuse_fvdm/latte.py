"""A transformer of videos whose frames have noise levels of their own."""

from __future__ import annotations

from typing import ClassVar

import torch
from suffuse_dit.blocks import Block, Final, NoiseEmbedding
from suffuse_dit.patches import patchify, sincos_positions, unpatchify
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone, check_labels
from suffuse.contracts.part import module, setting
from suffuse.errors import InvalidInput, SpecError

__all__ = ["Latte", "TimeBlock"]


class TimeBlock(Block):
    """The block of ``suffuse_dit`` with a modulation for each token: tokens ``(B, N, width)``, c ``(B, N, width)``."""

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """The tokens after attention and network."""
        b1, s1, g1, b2, s2, g2 = self.modulation(c).chunk(6, dim=2)
        x = x + g1 * self._attention(self.norm1(x) * (1 + s1) + b1)
        return x + g2 * self.mlp(self.norm2(x) * (1 + s2) + b2)


def _two(size: tuple[int, int]) -> str | None:
    good = isinstance(size, tuple | list) and len(size) == 2 and min(size) >= 1
    return None if good else f"expected (height, width), both at least 1, got {size!r}"


@module
class Latte(Backbone):
    """Blocks in space and in time by turns, each steered by the noise level of the frame that it works on.

    Ma et al., Latte: Latent Diffusion Transformer for Video Generation, 2024, arXiv:2401.03048, its first variant,
    with the vector of times of Liu et al., 2024, arXiv:2410.03160: the embedding of ``c_noise`` is ``(B, F, width)``.
    A block in space sees the patches of one frame, modulated as one; a block in time sees the frames of one place,
    each token modulated by its own frame's level; the last layer goes frame by frame. Patches have fixed sine-cosine
    positions, and frames theirs, added before the first block in time.

    ``x (B, frames, channels, *size)``; ``c_noise (B, frames)``, or ``(B,)`` for one level; the output is
    ``(B, frames, out_channels, *size)``, exactly zero at initialisation. The sizes are those of ``suffuse_dit``:
    ``Latte(**PRESETS["XL/2"])``. Labels and ``noise_scale`` as there.

    Blocks ``space0``, ``time0``, ``space1``, ...: tokens ``(B F, N, width)`` with c ``(B F, width)``, and tokens
    ``(B N, F, width)`` with c ``(B N, F, width)``.

    Raises ``SpecError`` for an odd depth, a size that patches do not tile, a width that heads or 4 do not divide;
    ``InvalidInput`` for a state or levels of another shape.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    frames: int = setting(16, "frames of a video", ge=1)
    channels: int = setting(4, "channels of a frame", ge=1)
    size: tuple[int, int] = setting((32, 32), "height and width of a frame", check=_two)
    patch: int = setting(2, "side of a patch", ge=1)
    width: int = setting(1152, "length of a token", ge=4)
    depth: int = setting(28, "number of blocks, in space and in time together", ge=2)
    heads: int = setting(16, "attention heads", ge=1)
    mlp_ratio: float = setting(4.0, "hidden units of a block's network, in widths", gt=0)
    classes: int = setting(0, "number of labels; 0 is unconditional", ge=0)
    out_channels: int | None = setting(None, "channels of the output; twice the frame's for a learned variance", ge=1)
    noise_scale: float = setting(1.0, "factor before the sinusoids of c_noise", gt=0)

    def __attrs_post_init__(self) -> None:
        p, width = self.patch, self.width
        if self.depth % 2:
            raise SpecError(f"depth must be even, half in space and half in time, got {self.depth}")
        if any(n % p for n in self.size):
            raise SpecError(f"size must be divisible by patch={p}, got {tuple(self.size)}")
        if width % self.heads or width % 4:
            raise SpecError(f"width must be divisible by heads={self.heads} and by 4, got {width}")
        self.embed = nn.Linear(p * p * self.channels, width)
        self.register_buffer("positions", sincos_positions(self.size[0] // p, self.size[1] // p, width))
        self.register_buffer("moments", _sincos(self.frames, width))
        self.noise = NoiseEmbedding(width)
        self.labels = nn.Embedding(self.classes + 1, width) if self.classes else None
        hidden = int(width * self.mlp_ratio)
        self.blocks = nn.ModuleDict(
            {
                f"{name}{i}": block(width, self.heads, hidden)
                for i in range(self.depth // 2)
                for name, block in (("space", Block), ("time", TimeBlock))
            }
        )
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
        expected = (self.frames, self.channels, *self.size)
        if tuple(x.shape[1:]) != expected or tuple(c_noise.shape) not in (x.shape[:1], x.shape[:2]):
            raise InvalidInput(
                f"expected x of shape (batch, {', '.join(map(str, expected))}) and c_noise of shape (batch,) or "
                f"(batch, {self.frames}), got {tuple(x.shape)} and {tuple(c_noise.shape)}"
            )
        b, f = x.shape[:2]
        c = self.noise(c_noise.flatten() * self.noise_scale).view(b, -1, self.width)
        if self.labels is not None:
            c = c + self.labels(self._rows_of(cond, x))[:, None]
        c = c.expand(b, f, -1)
        tokens = self.embed(patchify(x.flatten(0, 1), self.patch)) + self.positions
        n = tokens.shape[1]
        in_space, in_time = c.flatten(0, 1), c[:, None].expand(b, n, f, -1).flatten(0, 1)
        for i in range(self.depth // 2):
            tokens = self.run(f"space{i}", tokens, in_space)
            tokens = tokens.view(b, f, n, -1).transpose(1, 2).flatten(0, 1)
            tokens = self.run(f"time{i}", tokens if i else tokens + self.moments, in_time)
            tokens = tokens.view(b, n, f, -1).transpose(1, 2).flatten(0, 1)
        return unpatchify(self.final(tokens, in_space), self.patch, self.size).unflatten(0, (b, f))

    def _rows_of(self, cond: Condition, x: Tensor) -> Tensor:
        if "label" not in cond:
            return torch.full((len(x),), self.classes, device=x.device)
        return torch.where(cond.present("label"), cond["label"], self.classes)

    def _initialise(self) -> None:
        """As the image transformer's: zeros for all modulations and the last layer."""
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


def _sincos(n: int, width: int) -> Tensor:
    """Fixed positions ``(n, width)`` in one dimension: ``[sin(p w_i), cos(p w_i)]``, ``w_i = 10000^(-2 i/width)``."""
    omega = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = torch.arange(n, dtype=torch.float64)[:, None] * omega
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()
