"""The voxel radiance field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from suffuse.contracts.part import setting
from suffuse.rng import Rng
from suffuse_sjc.cameras import box, rays, spiral, upper
from suffuse_sjc.renderer import Camera, Renderer, Rendering, Theta

__all__ = ["Voxels"]

_FAR = 10.0  # the background's distance in depth maps
_TOP = 30.0  # degrees of the polar parameter below which a view is called overhead


@attrs.frozen(kw_only=True)
class Voxels(Renderer):
    """Densities and colours on a grid in the cube ``[-half, half]^3``, volume-rendered over a texture far away.

    At a point the density is ``softplus(exp(scale) d + shift)`` and the colour c, interpolated linearly; along a ray
    with steps of half a voxel ``w_k = (1 - e^(-density_k step)) prod_(j<k) e^(-density_j step)`` and the pixel is
    ``sum_k w_k c_k + (1 - sum_k w_k) b(ray)``. A scene is penalised for matter along rays, by ``weight mean log(1 +
    sharpness w)`` over all rays' samples, harder in the late part of a run. Wang et al., Score Jacobian Chaining,
    2023, arXiv:2212.00774, section 4, with the released code's settings for Stable Diffusion: its states are latents
    of 4 channels, so colours are not bounded. For images in [-1, 1] use ``bounded``: ``2 sigmoid(c) - 1``.

    Parameters: ``density`` ``(B, 1, grid, grid, grid)`` and ``color`` ``(B, channels, grid, grid, grid)`` over z, y,
    x; ``background`` ``(B, channels, texture, texture)`` over azimuth and polar angle; ``scale`` ``(B,)``. Camera:
    ``eye`` ``(B, 3)``, looking at the origin, and ``degrees`` ``(B,)``, the field of view. A view is ``(B, channels,
    pixels, pixels)``; extras: ``depth`` ``(B, pixels, pixels)`` and ``emptiness`` ``(B,)``.
    """

    directions: ClassVar[tuple[str, ...]] = ("front", "side", "back", "overhead")

    channels: int = setting(4, "of a view", ge=1)
    grid: int = setting(100, "voxels along each side", ge=1)
    pixels: int = setting(64, "a view's side", ge=1)
    texture: int = setting(4, "the background's side", ge=1)
    half: float = setting(1.0, "half the cube's side", gt=0)
    shift: float = setting(-1.0, "added to densities before the softplus")
    bounded: bool = setting(False, "colours in [-1, 1]")
    radius: float = setting(1.5, "the eye's distance", gt=0)
    degrees: tuple[float, float] = setting((40.0, 70.0), "range of the fields of view; the tour has 60")
    weight: float = setting(1e4, "of the penalty for matter", ge=0)
    sharpness: float = setting(10.0, "of the penalty's logarithm", gt=0)
    late: float = setting(0.5, "the share of the steps after which the penalty is multiplied", ge=0, le=1)
    late_factor: float = setting(20.0, "by which it is", ge=0)

    def start(self, rng: Rng) -> Theta:
        """Densities and scale 0, colours and background ``N(0, 1)``."""
        n, c, device = rng.size, self.channels, rng.device
        cube = [self.grid] * 3
        return {
            "density": torch.zeros(n, 1, *cube, device=device),
            "color": rng.at("color").normal(torch.empty(n, c, *cube, device=device)),
            "background": rng.at("background").normal(torch.empty(n, c, *[self.texture] * 2, device=device)),
            "scale": torch.zeros(n, device=device),
        }

    @property
    def scales(self) -> Mapping[str, float]:
        """The background learns at 1e-4 where the rest learns at 0.05."""
        return {"background": 1e-4 / 0.05}

    def camera(self, rng: Rng) -> Camera:
        """From the upper half, with a random field of view."""
        low, high = self.degrees
        u = rng.at("eye").uniform(torch.empty(rng.size, 2, device=rng.device))
        zoom = rng.at("degrees").uniform(torch.empty(rng.size, device=rng.device))
        return {"eye": upper(u, self.radius), "degrees": low + (high - low) * zoom}

    def tour(self, n: int) -> Camera:
        """Three rounds, from above to the horizon."""
        return {"eye": spiral(n, self.radius), "degrees": torch.full((n,), 60.0)}

    def direction(self, camera: Camera) -> Tensor:
        """``overhead`` near the pole; else by the quarter of the azimuth: front, side, back, side."""
        x, y, z = camera["eye"].unbind(1)
        around = torch.atan2(z, -x).rad2deg()
        quarter = ((around + 45) % 360).div(90, rounding_mode="floor").long().clamp(max=3)
        polar = (1 - y / camera["eye"].norm(dim=1)) * 90
        return torch.where(polar < _TOP, 3, torch.tensor([0, 1, 2, 1], device=x.device)[quarter])

    def render(self, theta: Theta, camera: Camera) -> Rendering:
        """Each ray has as many samples as the cube's diagonal needs; those outside the cube hold nothing."""
        eye, degrees = (camera[k].to(theta["color"]) for k in ("eye", "degrees"))
        ray = rays(eye, degrees, self.pixels)
        enter, leave = box(eye, ray, self.half)
        step = self.half / self.grid  # half of a voxel's side
        count = int(2 * math.sqrt(3) * self.half / step) + 1
        tick = step * torch.arange(count, dtype=eye.dtype, device=eye.device)
        distance = enter[..., None] + tick
        inside = tick < (leave - enter)[..., None]
        points = (eye[:, None, None] + ray[:, :, None] * distance[..., None]) / self.half
        raw = self._at(theta["density"], points)[:, 0] * theta["scale"].exp()[:, None, None]
        thick = torch.where(inside, F.softplus(raw + self.shift), 0.0) * step
        through = (-thick).exp()
        before = torch.cat([torch.ones_like(through[..., :1]), through.cumprod(2)[..., :-1]], 2)
        w = (1 - through) * before
        rest = 1 - w.sum(2)
        color = (self._bound(self._at(theta["color"], points)) * w[:, None]).sum(3)
        x = color + rest[:, None] * self._bound(self._behind(theta["background"], ray))
        shape = (self.pixels, self.pixels)
        extras = {
            "depth": ((w * distance).sum(2) + rest * _FAR).unflatten(1, shape),
            "emptiness": self._emptiness(w, leave - enter, step),
        }
        return Rendering(x=x.unflatten(2, shape), extras=extras)

    def penalty(self, rendering: Rendering, done: float) -> Tensor:
        """``weight`` times the emptiness, times ``late_factor`` from ``late`` of the steps on."""
        return self.weight * (self.late_factor if done >= self.late else 1.0) * rendering.extras["emptiness"]

    def _emptiness(self, w: Tensor, length: Tensor, step: float) -> Tensor:
        """``mean log(1 + sharpness w)`` over the samples that the scene's longest ray has."""
        count = (length.amax(1) / step).floor() + 1
        return torch.log1p(self.sharpness * w).sum((1, 2)) / (w.shape[1] * count)

    def _bound(self, feature: Tensor) -> Tensor:
        return 2 * feature.sigmoid() - 1 if self.bounded else feature

    @staticmethod
    def _at(field: Tensor, points: Tensor) -> Tensor:
        """A field ``(B, C, grid, grid, grid)`` at points ``(B, N, K, 3)`` in [-1, 1]: ``(B, C, N, K)``."""
        found: Tensor = F.grid_sample(field, points[:, None], align_corners=False)
        return found[:, :, 0]

    @staticmethod
    def _behind(texture: Tensor, ray: Tensor) -> Tensor:
        """The background in each ray's direction, ``(B, C, N)``."""
        x, y, z = ray.unbind(2)
        polar, around = torch.atan2(torch.hypot(x, y), z) / math.pi, torch.atan2(y, x) / (2 * math.pi) + 0.5
        at = torch.stack([polar, around], 2) * 2 - 1
        found: Tensor = F.grid_sample(texture, at[:, None], align_corners=False)
        return found[:, :, 0]
