"""ADM's U-Net."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone, check_labels
from suffuse.contracts.part import module, setting
from suffuse_adm.layers import zero
from suffuse_adm.plan import Embedder, Plan, descend, inputs_checked

__all__ = ["UNet"]


@module
class UNet(Backbone):
    """Residual blocks with adaptive group normalisation, BigGAN's resampling, attention at several levels.

    Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, arXiv:2105.05233, section 3 and the
    appendix. The defaults are the class-conditional ImageNet 256x256 network, with an output for eps and one for v of
    ``iddpm/learned-range``: 553,838,086 parameters. The published others:

    - 64x64: ``width=192, multipliers=(1, 2, 3, 4), depth=3, attention=(1, 2, 3), dropout=0.1``;
    - 128x128: ``multipliers=(1, 1, 2, 3, 4), attention=(2, 3, 4), heads=4``;
    - 512x512: ``multipliers=(0.5, 1, 1, 2, 2, 4, 4), attention=(4, 5, 6)``.

    With ``resample="conv", heads=4, width=128, depth=3`` it is that of Improved DDPM (arXiv:2102.09672).

    x is ``(B, channels, H, W)`` with H and W divisible by ``2 ** (levels - 1)``. The embedding of c_noise is made in
    float32 whatever the weights are. A label's embedding is added to it; an absent label adds nothing. Blocks:
    ``down_i_j``, ``downsample_i``, ``middle``, ``up_i_j``, ``upsample_i`` (level i, block j), each called with
    ``(x, embedding)``.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    channels: int = setting(3, "channels of a state", ge=1)
    outputs: int = setting(6, "channels of the output; twice the state's for a learned variance", ge=1)
    width: int = setting(256, "channels of a level with multiplier 1", ge=2)
    multipliers: tuple[float, ...] = setting((1, 1, 2, 2, 4, 4), "width of each level, in units of width")
    depth: int = setting(2, "residual blocks of each level; one more on the way up", ge=1)
    attention: tuple[int, ...] = setting((3, 4, 5), "levels with self-attention; level i has sides H/2^i")
    head_width: int = setting(64, "channels of an attention head", ge=1)
    heads: int | None = setting(None, "a number of heads for all levels, instead of their width", ge=1)
    groups: int = setting(32, "groups of GroupNorm", ge=1)
    dropout: float = setting(0.0, "dropout inside the residual blocks, in training", ge=0, lt=1)
    classes: int = setting(1000, "labels 0 ... classes - 1; 0 for an unconditional network", ge=0)
    scale_shift: bool = setting(True, "adaptive group normalisation, instead of adding the embedding")
    resample: Literal["residual", "conv"] = setting(
        "residual", "BigGAN's residual blocks or plain convolutions between levels", choices=("residual", "conv")
    )
    rescale: bool = setting(False, "residual sums divided by sqrt(2): an ablation, in no published model")

    def __attrs_post_init__(self) -> None:
        plan = self._plan = Plan.of(self)
        self.embed = Embedder(self.width)
        self.labels = nn.Embedding(self.classes, 4 * self.width) if self.classes else None
        self.first = nn.Conv2d(self.channels, plan.widths[0], 3, padding=1)
        self.blocks = nn.ModuleDict()
        skips = plan.way_down(self.blocks)
        width = plan.widths[-1]
        for i, wide in reversed(list(enumerate(plan.widths))):
            for j in range(self.depth + 1):
                self.blocks[f"up_{i}_{j}"] = plan.block(i, width + skips.pop())
                width = wide
            if i:
                self.blocks[f"upsample_{i}"] = plan.resampling(width, "up")
        self.normalize = nn.GroupNorm(self.groups, width)
        self.last = zero(nn.Conv2d(width, self.outputs, 3, padding=1))

    @property
    def gives(self) -> frozenset[str]:
        """``conditional`` where there are classes."""
        return frozenset({"conditional"} if self.classes else ())

    def check(self, cond: Condition) -> None:
        """A label, where there are classes."""
        check_labels(cond, self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """``(B, outputs, H, W)``. Raises ``InvalidInput`` for a wrong number of channels or sides that do not halve."""
        step = 2 ** (len(self.multipliers) - 1)
        good = not any(n % step for n in x.shape[2:])
        inputs_checked(x, c_noise, self.channels, f"H and W divisible by {step}", good)
        embedding = self.embed(c_noise, x.dtype)
        if self.labels is not None and "label" in cond:
            present = cond.present("label")
            rows = self.labels(torch.where(present, cond["label"], 0))
            embedding = embedding + rows * present[:, None]
        *kept, h = descend(self, self._plan, self.first(x), embedding)
        for i in reversed(range(len(self.multipliers))):
            for j in range(self.depth + 1):
                h = self.run(f"up_{i}_{j}", torch.cat([h, kept.pop()], dim=1), embedding)
            if i:
                h = self.run(f"upsample_{i}", h, embedding)
        out: Tensor = self.last(F.silu(self.normalize(h)))
        return out
