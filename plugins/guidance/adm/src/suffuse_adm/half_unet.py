"""The classifier's network: the half of the U-Net that goes down."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module, setting
from suffuse.errors import SpecError
from suffuse_adm.layers import AttentionPool
from suffuse_adm.plan import Embedder, Plan, descend, inputs_checked

__all__ = ["HalfUNet"]


@module
class HalfUNet(Backbone):
    """The downward path of ``adm/unet`` and attention pooling: logits ``(B, classes)`` of a noisy image.

    Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, arXiv:2105.05233, section 4.
    The defaults are the ImageNet 256x256 classifier with its 54,096,360 parameters. The published others:

    - 64x64: ``side=64, multipliers=(1, 2, 3, 4), depth=4, attention=(1, 2, 3)``;
    - 128x128: ``side=128, multipliers=(1, 1, 2, 3, 4), attention=(2, 3, 4)``;
    - 512x512: ``side=512, multipliers=(0.5, 1, 1, 2, 2, 4, 4), attention=(4, 5, 6)``.

    x is ``(B, channels, side, side)``. Blocks ``down_i_j``, ``downsample_i`` and ``middle`` as in the U-Net.
    """

    channels: int = setting(3, "channels of a state", ge=1)
    side: int = setting(256, "height and width of a state, divisible by 2 ** (levels - 1)", ge=1)
    classes: int = setting(1000, "classes that it tells apart", ge=2)
    width: int = setting(128, "channels of a level with multiplier 1", ge=2)
    multipliers: tuple[float, ...] = setting((1, 1, 2, 2, 4, 4), "width of each level, in units of width")
    depth: int = setting(2, "residual blocks of each level", ge=1)
    attention: tuple[int, ...] = setting((3, 4, 5), "levels with self-attention; level i has sides side/2^i")
    head_width: int = setting(64, "channels of an attention head", ge=1)
    heads: int | None = setting(None, "a number of heads for all levels, instead of their width", ge=1)
    groups: int = setting(32, "groups of GroupNorm", ge=1)
    dropout: float = setting(0.0, "dropout inside the residual blocks, in training", ge=0, lt=1)
    scale_shift: bool = setting(True, "adaptive group normalisation, instead of adding the embedding")
    resample: Literal["residual", "conv"] = setting(
        "residual", "BigGAN's residual blocks or plain convolutions between levels", choices=("residual", "conv")
    )
    rescale: bool = setting(False, "residual sums divided by sqrt(2): an ablation, in no published model")

    def __attrs_post_init__(self) -> None:
        plan = self._plan = Plan.of(self)
        lowest, left = divmod(self.side, 2 ** (len(plan.widths) - 1))
        if left or not lowest:
            raise SpecError(f"side must be divisible by {2 ** (len(plan.widths) - 1)}, got {self.side}")
        self.embed = Embedder(self.width)
        self.first = nn.Conv2d(self.channels, plan.widths[0], 3, padding=1)
        self.blocks = nn.ModuleDict()
        plan.way_down(self.blocks)
        width = plan.widths[-1]
        self.normalize = nn.GroupNorm(self.groups, width)
        self.pool = AttentionPool(width, lowest**2, plan.heads_of(width), self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """``(B, classes)``. Raises ``InvalidInput`` for images of another size."""
        good = tuple(x.shape[2:]) == (self.side, self.side)
        inputs_checked(x, c_noise, self.channels, f"H = W = {self.side}", good)
        h = descend(self, self._plan, self.first(x), self.embed(c_noise, x.dtype))[-1]
        out: Tensor = self.pool(F.silu(self.normalize(h)))
        return out
