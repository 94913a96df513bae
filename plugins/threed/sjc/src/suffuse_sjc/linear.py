"""Renderers that are linear: crops of a field and projections of a voxel grid, from a few known views."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from suffuse.contracts.part import setting
from suffuse.errors import SpecError
from suffuse.rng import Rng
from suffuse_sjc.renderer import Camera, Renderer, Rendering, Theta

__all__ = ["Crops", "Projections"]


@attrs.frozen(kw_only=True)
class Crops(Renderer):
    """Views of a 2-D field are square crops of it, at known offsets that may overlap.

    Parameters: ``field`` ``(B, channels, side, side)``. Camera: ``view`` ``(B,)``, an index of the offsets. A view is
    ``(B, channels, crop, crop)``.
    """

    channels: int = setting(1, "of the field and of a view", ge=1)
    side: int = setting(12, "of the field, in pixels", ge=1)
    crop: int = setting(8, "a view's side, in pixels", ge=1)
    offsets: tuple[tuple[int, int], ...] = setting(((0, 0), (4, 4)), "row and column of each view's first pixel")
    spread: float = setting(0.1, "standard deviation of the field to begin with", ge=0)

    def __attrs_post_init__(self) -> None:
        top = self.side - self.crop
        if not self.offsets or not all(0 <= at <= top for pair in self.offsets for at in pair):
            raise SpecError(
                f"offsets must lie from 0 to side - crop = {top}, one at least, got {self.offsets}", path="offsets"
            )

    def start(self, rng: Rng) -> Theta:
        """``N(0, spread^2)``."""
        like = torch.empty(rng.size, self.channels, self.side, self.side, device=rng.device)
        return {"field": self.spread * rng.at("field").normal(like)}

    def camera(self, rng: Rng) -> Camera:
        """One of the views."""
        return {"view": rng.at("view").integers(0, len(self.offsets))}

    def tour(self, n: int) -> Camera:
        """The first n views."""
        return {"view": torch.arange(len(self.offsets))[:n]}

    def render(self, theta: Theta, camera: Camera) -> Rendering:
        """The crops."""
        field = theta["field"]
        corner = torch.tensor(self.offsets, device=field.device)[camera["view"].to(field.device)]
        window = torch.arange(self.crop, device=field.device)
        row, column = (corner[:, i, None] + window for i in (0, 1))
        batch = torch.arange(len(field), device=field.device)
        # channels last while indexing, since the index dimensions come first
        x = field.movedim(1, -1)[batch[:, None, None], row[:, :, None], column[:, None, :]]
        return Rendering(x=x.movedim(-1, 1))


@attrs.frozen(kw_only=True)
class Projections(Renderer):
    """Views of a voxel grid are its means along parallel rays, from directions around the vertical axis.

    View k of K turns the grid by ``180 k/K`` degrees about its middle (opposite views are mirror images), with
    trilinear interpolation and nothing outside the grid. Parameters: ``voxels`` ``(B, channels, side, side, side)``,
    ordered depth, height, width. Camera: ``view`` ``(B,)``. A view is ``(B, channels, side, side)``.
    """

    channels: int = setting(1, "of a voxel and of a view", ge=1)
    side: int = setting(8, "of the grid, in voxels, and of a view, in pixels", ge=1)
    views: int = setting(4, "directions", ge=1)
    spread: float = setting(0.1, "standard deviation of the voxels to begin with", ge=0)

    def start(self, rng: Rng) -> Theta:
        """``N(0, spread^2)``."""
        like = torch.empty(rng.size, self.channels, *[self.side] * 3, device=rng.device)
        return {"voxels": self.spread * rng.at("voxels").normal(like)}

    def camera(self, rng: Rng) -> Camera:
        """One of the views."""
        return {"view": rng.at("view").integers(0, self.views)}

    def tour(self, n: int) -> Camera:
        """The first n views."""
        return {"view": torch.arange(self.views)[:n]}

    def render(self, theta: Theta, camera: Camera) -> Rendering:
        """The means along the turned depth."""
        voxels = theta["voxels"]
        angle = camera["view"].to(voxels) * (math.pi / self.views)
        cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
        turn = torch.stack([cos, zero, -sin, zero, zero, one, zero, zero, sin, zero, cos, zero], 1).view(-1, 3, 4)
        grid: Tensor = F.affine_grid(turn, list(voxels.shape), align_corners=False)
        return Rendering(x=F.grid_sample(voxels, grid, align_corners=False).mean(2))
