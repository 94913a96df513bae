"""The contract of differentiable renderers: images of a scene from cameras, as functions of the scene's parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import Part
from suffuse.rng import Rng

__all__ = ["Camera", "Renderer", "Rendering", "Theta"]

# Parameters of a batch of scenes by name, each ``(B, ...)``: row i is scene i, and no scene touches another.
Theta = Mapping[str, Tensor]
# Where each scene is looked at from, each ``(B, ...)``.
Camera = Mapping[str, Tensor]


@attrs.frozen(eq=False, kw_only=True)
class Rendering:
    """Images ``x_pi = g(theta, pi)`` as states, ``(B, *event)``, and what else the renderer knows of them, by name."""

    x: Tensor
    extras: Mapping[str, Tensor] = attrs.field(factory=dict)


class Renderer(Part):
    """``g(theta, pi)``, differentiable in theta. It keeps nothing: parameters are values, one scene a row.

    ``directions`` names what a view may be called in words ("front", "side"), for models that are told.
    """

    kind = "renderer"

    directions: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def start(self, rng: Rng) -> Theta:
        """Parameters to begin with, float32, one scene for each row of ``rng``."""

    @abstractmethod
    def camera(self, rng: Rng) -> Camera:
        """A random camera for each row."""

    @abstractmethod
    def tour(self, n: int) -> Camera:
        """At most n cameras to look at the result from, in order."""

    @abstractmethod
    def render(self, theta: Theta, camera: Camera) -> Rendering:
        """Each row's scene from each row's camera, in the dtype of theta."""

    def direction(self, camera: Camera) -> Tensor:
        """Each camera's place in ``directions``, int64 ``(B,)``."""
        first = next(iter(camera.values()))
        return torch.zeros(len(first), dtype=torch.int64, device=first.device)

    def penalty(self, rendering: Rendering, done: float) -> Tensor:
        """What the renderer itself holds against each scene ``(B,)``, after this share of the steps."""
        return rendering.x.new_zeros(len(rendering.x))

    @property
    def scales(self) -> Mapping[str, float]:
        """The learning rates of single parameters, as shares of the run's."""
        return {}
