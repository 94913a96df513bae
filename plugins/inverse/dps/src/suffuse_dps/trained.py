"""DPS with a trained network."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Literal

import attrs
from suffuse_ddpm.ancestral import Ancestral
from suffuse_digits.dataset import Digits
from suffuse_digits.shipped import DDPM
from suffuse_operators.fourier import MotionBlur
from suffuse_operators.noise import GaussianNoise
from suffuse_operators.restore import Restore
from suffuse_operators.separable import GaussianBlur

from suffuse.contracts.guidance import Guidance
from suffuse.contracts.task import Claim, Measure
from suffuse.parts import Chain, Clip
from suffuse.pipeline import Pipeline
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_dps.baselines import Projection
from suffuse_dps.guidance import Dps

__all__ = ["Deblurs"]


@cache
def _ddpm() -> System:
    return Pipeline.load(DDPM).system


@attrs.frozen(kw_only=True)
class Deblurs(Claim):
    """Test digits, a network trained on the others."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with a trained network DPS restores test digits from Gaussian and from motion blur, noise of 0.1, with a PSNR "
        "at least 3 dB above hard projection's at equal evaluations (arXiv:2209.14687, table 1: deblurring is where "
        "projection fails), with the weights digits/ddpm"
    )
    margin: ClassVar[float] = 3.0

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller gain of the two, in dB; 12 digits, 30 steps, zeta 0.5, clipped. Sabotaged, zeta is 0."""
        noise, numbers, gains = GaussianNoise(std=0.1), {}, []
        for operator in (GaussianBlur(std=0.7, noise=noise), MotionBlur(length=4.0, noise=noise)):
            arms: dict[str, Guidance] = {
                "dps": Dps(operator=operator, zeta=0.0 if sabotage else 0.5),
                "projection": Projection(operator=operator),
            }
            for name, guidance in arms.items():
                system = attrs.evolve(
                    _ddpm(), sampler=Ancestral(steps=30, variance="small"), guidance=Chain(parts=(Clip(), guidance))
                )
                found = Restore(dataset=Digits(split="test")).run(system, {"n": 12}, Rng.of(seed, 1)).metrics
                numbers |= {
                    f"{k}, {name}, {type(operator).__name__}": found[k] for k in ("psnr", "ssim", "consistency")
                }
            label = type(operator).__name__
            gains.append(numbers[f"psnr, dps, {label}"] - numbers[f"psnr, projection, {label}"])
        return Measure(effect=min(gains), numbers=numbers)
