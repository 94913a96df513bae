"""What the paper asserts, on mixtures whose denoiser and posterior are known."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_ddpm.ancestral import Ancestral
from suffuse_ddpm.discrete import Discrete
from suffuse_dps.baselines import Projection
from suffuse_dps.guidance import Dps
from suffuse_operators.dense import Matrix, matrix_of
from suffuse_operators.digits import SHAPE, MixtureOfImages, digits_system, held_out
from suffuse_operators.fourier import MotionBlur
from suffuse_operators.masks import Box, Inpaint
from suffuse_operators.noise import GaussianNoise
from suffuse_operators.patches import patches, patches_system
from suffuse_operators.posterior import Posterior
from suffuse_operators.restore import quality
from suffuse_operators.separable import SuperResolution
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.operator import LinearOperator
from suffuse.contracts.sampler import Carry, Sampler
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle
from suffuse_diffpir.guidance import DataProx
from suffuse_diffpir.sampler import DiffPir

__all__ = ["DataStep", "FewerEvaluations", "NearerPosterior", "Photographs", "PhotographsAgainstDps"]


@attrs.frozen(kw_only=True)
class DataStep(Claim):
    """One step against dense linear algebra."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "a step's x0 solves (A^T A + rho I) x0 = A^T y + rho x0_hat, rho = lambda sigma_n^2 alpha_t^2/sigma_t^2, and "
        "it ends in alpha_s x0 + sigma_s (x_t - alpha_t x0)/sigma_t, for inpainting, periodic blur and "
        "super-resolution (arXiv:2305.08995, algorithm 1, zeta = 0)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest relative error over operators, 8 images at random times; in float64, 1e-9 leaves digits' room.

        Sabotaged, the noise is the denoiser's own: that of x0_hat.
        """
        mixture, process, errors = GaussianMixture.random(dim=64, components=3, seed=seed), Circle(), {}
        model, rng, noise = MixtureOfImages(mixture=mixture), Rng.of(seed, 8), GaussianNoise(std=0.2)
        t = 0.05 + 0.9 * rng.at("t").uniform(torch.empty(8, dtype=torch.float64))
        s = t / 2
        x = rng.at("x").normal(torch.empty(8, *SHAPE, dtype=torch.float64))
        (alpha, sigma), (alpha_s, sigma_s) = ((w[:, None] for w in process.scalars(u)) for u in (t, s))
        sr2 = SuperResolution(factor=2, noise=noise)
        for operator in (Inpaint(noise=noise), MotionBlur(length=4.0, noise=noise), sr2):
            y = operator.measure(x.flip(0), rng)
            guidance, sampler = DataProx(operator=operator, lambda_=0.7), DiffPir(zeta=0.0)
            system = System(
                model=model, process=process, space=Euclidean(shape=SHAPE), sampler=sampler, guidance=guidance
            )
            x_s = system.step(system, Carry(x=x, cond=Condition(y=y)), t, s, rng)[0].x
            assert isinstance(x_s, Tensor)
            a, flat = matrix_of(operator, SHAPE), x.flatten(1)
            guess = mixture.denoise(flat, *process.scalars(t))
            rho = 0.7 * noise.std**2 * (alpha / sigma) ** 2
            normal = a.mT @ a + rho[:, :, None] * torch.eye(64, dtype=torch.float64)
            x0 = torch.linalg.solve(normal, y.flatten(1) @ a + rho * guess)
            eps = (flat - alpha * (guess if sabotage else x0)) / sigma
            wanted = alpha_s * x0 + sigma_s * eps
            errors[type(operator).__name__] = float((x_s.flatten(1) - wanted).abs().max() / wanted.abs().max())
        return Measure(effect=1e-9 - max(errors.values()), numbers=errors)


def _arms(operator: LinearOperator, *, sabotage: bool) -> dict[str, tuple[Sampler, Guidance]]:
    """DiffPIR and its baselines, all with 20 evaluations; DPS's names are the released code's scales."""
    ancestral = Ancestral(steps=20, variance="small")
    prox = DataProx(operator=operator, lambda_=1e6 if sabotage else 1.0)
    return {
        "diffpir": (DiffPir(steps=20, zeta=1.0), prox),
        "dps 0.3": (ancestral, Dps(operator=operator, zeta=0.15)),
        "dps 1": (ancestral, Dps(operator=operator, zeta=0.5)),
        "projection": (ancestral, Projection(operator=operator)),
    }


@attrs.frozen(kw_only=True)
class FewerEvaluations(Claim):
    """Restoration of digits."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with 20 evaluations, zeta 1 and lambda 1 DiffPIR restores digits, noise of 0.05, with a PSNR at least 0.5 dB "
        "above that of DPS with as many (the better of the released code's scales 0.3 and 1), and above that of "
        "projection, for random and box inpainting and 2x super-resolution (arXiv:2305.08995, table 2)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smallest gain in dB over operators and baselines, 0.5 less for DPS; 40 digits.

        Sabotaged, lambda is 1e6: no data step.
        """
        noise, x, gains = GaussianNoise(std=0.05), held_out(297)[40 * seed :][:40], []
        numbers: dict[str, float] = {}
        sr2 = SuperResolution(factor=2, kernel="average", noise=noise)
        for operator in (Inpaint(noise=noise), sr2, Box(noise=noise)):
            y, label, found = operator.measure(x, Rng.of(seed, len(x)).at("measure")), type(operator).__name__, {}
            for name, (sampler, guidance) in _arms(operator, sabotage=sabotage).items():
                system = digits_system(Discrete(), sampler=sampler, guidance=guidance)
                restored = system.sample(cond={"y": y}, seed=seed)
                assert isinstance(restored, Tensor)
                metrics = quality(operator, x, y, restored)
                found[name] = metrics["psnr"]
                numbers |= {f"{k}, {name}, {label}": metrics[k] for k in ("psnr", "ssim", "consistency")}
            bar = max(found["projection"], 0.5 + max(found["dps 0.3"], found["dps 1"]))
            gains.append(found["diffpir"] - bar)
        return Measure(effect=min(gains), numbers=numbers)


@cache
def _photographs(seed: int, *, sabotage: bool) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """PSNRs by operator and arm, and all numbers, on 60 patches of photographs with noise of 0.05."""
    noise, psnrs = GaussianNoise(std=0.05), {}
    x, numbers = patches("test")[seed::28][:60], {}
    sr2 = SuperResolution(factor=2, kernel="average", noise=noise)
    for operator in (sr2, MotionBlur(length=4.0, noise=noise), Box(noise=noise)):
        y, label, found = operator.measure(x, Rng.of(seed, len(x)).at("measure")), type(operator).__name__, {}
        for name, (sampler, guidance) in _arms(operator, sabotage=sabotage).items():
            system = patches_system(Discrete(), sampler=sampler, guidance=guidance)
            restored = system.sample(cond={"y": y}, seed=seed)
            assert isinstance(restored, Tensor)
            metrics = quality(operator, x, y, restored)
            found |= {name: metrics["psnr"], "pseudo-inverse": metrics["psnr_of_pseudo_inverse"]}
            numbers |= {f"{k}, {name}, {label}": metrics[k] for k in ("psnr", "ssim", "consistency")}
        numbers[f"psnr, pseudo-inverse, {label}"] = found["pseudo-inverse"]
        psnrs[label] = found
    return psnrs, numbers


@attrs.frozen(kw_only=True)
class Photographs(Claim):
    """Restoration of photographs' patches."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with 20 evaluations DiffPIR restores grey 8x8 patches of photographs, noise of 0.05, with a PSNR 1 dB above "
        "the pseudo-inverse and hard projection, for 2x super-resolution, motion blur and box inpainting, under a "
        "Gaussian mixture that was fitted to other patches"
    )
    margin: ClassVar[float] = 1.0

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smallest gain in dB over operators and baselines. Numbers have SSIM and consistency.

        Sabotaged, lambda is 1e6: no data step.
        """
        psnrs, numbers = _photographs(seed, sabotage=sabotage)
        gains = [found["diffpir"] - max(found["projection"], found["pseudo-inverse"]) for found in psnrs.values()]
        return Measure(effect=min(gains), numbers=numbers)


@attrs.frozen(kw_only=True)
class PhotographsAgainstDps(Claim):
    """The same patches, against DPS."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "on these patches DiffPIR's PSNR is above that of DPS with as many evaluations, the better of the released "
        "code's scales 0.3 and 1 (arXiv:2305.08995, table 2, on faces)"
    )
    does_not_hold: ClassVar[str] = (
        "with the exact denoiser of a mixture DPS at scale 1 is 1 to 3 dB better; DiffPIR is nearer the measurement's "
        "noise level (consistency), and its SSIM is higher for super-resolution"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smallest gain in dB over operators; sabotaged, lambda is 1e6."""
        psnrs, _ = _photographs(seed, sabotage=sabotage)
        gains = {label: found["diffpir"] - max(found["dps 0.3"], found["dps 1"]) for label, found in psnrs.items()}
        return Measure(effect=min(gains.values()), numbers=gains)


@attrs.frozen(kw_only=True)
class NearerPosterior(Claim):
    """Samples against the exact posterior."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with noise of 0.3 and 20 evaluations, DiffPIR's samples (zeta 1, lambda 1) are nearer the exact posterior of "
        "a Gaussian mixture than those of hard projection, in energy distance"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """log of the ratio of energy distances; 12 measurements of 6 dimensions by 3, 40 samples each.

        Numbers have the distance of exact draws, those of DPS at two scales, and coverage. Sabotaged, lambda is 1e6: no
        data step.
        """
        mixture = GaussianMixture.random(dim=6, components=5, seed=seed)
        a = Rng.of(seed, 1).at("A").normal(torch.empty(1, 3, 6, dtype=torch.float64))[0] / math.sqrt(6)
        operator = Matrix.of(a, noise=GaussianNoise(std=0.3))
        numbers: dict[str, float] = {}
        for name, (sampler, guidance) in _arms(operator, sabotage=sabotage).items():
            system = mixture_system(mixture, Discrete(), sampler=sampler, guidance=guidance)
            found = Posterior().run(system, {"n": 40, "measurements": 12}, Rng.of(seed, 1)).metrics
            numbers |= {f"{k}, {name}": v for k, v in found.items()}
        return Measure(effect=math.log(numbers["energy, projection"] / numbers["energy, diffpir"]), numbers=numbers)
