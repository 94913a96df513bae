"""The published configurations (Huang et al., 2024, arXiv:2501.05441, appendix; the authors' ``train.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from suffuse_r3gan.loss import R3Gan
from suffuse_r3gan.networks import R3Discriminator, R3Generator

__all__ = ["PRESETS", "Preset"]


@attrs.frozen(kw_only=True)
class Preset:
    """One data set's networks and schedules. The learning rate is 2e-4; counts of images become steps of ``batch``."""

    widths: tuple[int, ...]
    cardinalities: tuple[int, ...]
    classes: int
    batch: int
    gamma: tuple[float, float]
    burn_in_images: float
    half_life_images: float

    def generator(self) -> R3Generator:
        """The generator, freshly initialised."""
        return R3Generator(widths=self.widths, cardinalities=self.cardinalities, classes=self.classes)

    def objective(self) -> R3Gan:
        """The objective with its discriminator."""
        critic = R3Discriminator(widths=self.widths, cardinalities=self.cardinalities, classes=self.classes)
        return R3Gan(
            critic=critic,
            gamma=self.gamma,
            burn_in=round(self.burn_in_images / self.batch),
            half_life=(0.0, self.half_life_images / self.batch),
        )


def _preset(
    widths: tuple[int, ...],
    cardinalities: tuple[int, ...],
    classes: int,
    batch: int,
    gamma: float,
    images: tuple[float, float],
) -> Preset:
    return Preset(
        widths=widths,
        cardinalities=cardinalities,
        classes=classes,
        batch=batch,
        gamma=(gamma, gamma / 10),
        burn_in_images=images[0],
        half_life_images=images[1],
    )


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "cifar-10": _preset((768,) * 4, (96,) * 4, 10, 512, 0.05, (2e7, 5e6)),
        "ffhq-64": _preset((768,) * 4 + (384,), (96,) * 4 + (48,), 0, 256, 2.0, (2e7, 5e5)),
        "ffhq-256": _preset((768,) * 4 + (384, 192, 96), (96,) * 4 + (48, 24, 12), 0, 256, 150.0, (2e7, 5e5)),
        "imagenet-32": _preset((1536,) * 4, (96,) * 4, 1000, 4096, 0.5, (2e8, 5e7)),
        "imagenet-64": _preset((1536,) * 5, (96,) * 5, 1000, 4096, 1.0, (2e8, 5e7)),
    }
)
