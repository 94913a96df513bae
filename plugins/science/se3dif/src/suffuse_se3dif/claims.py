"""The paper's assertions, and what its noise is on the group."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.state import State, rows
from suffuse.system import System
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse_se3dif import so3
from suffuse_se3dif.baseline import distances, earth_mover, fit_vae
from suffuse_se3dif.densities import heat_kernel, log_branches
from suffuse_se3dif.langevin import Se3Langevin
from suffuse_se3dif.mixture import PoseMixture
from suffuse_se3dif.motion import GraspAndMotion
from suffuse_se3dif.network import PoseEnergy
from suffuse_se3dif.objective import Se3Dsm
from suffuse_se3dif.poses import Poses, UniformPoses, leaves_of, move, scaled, tangent_noise
from suffuse_se3dif.process import Se3Gaussian
from suffuse_se3dif.scenes import blocked_scenes, three_grasps

__all__ = ["FindsThePose", "JointIsBetter", "Kernels", "LieDerivative", "NearerThanVae", "OnTheModes"]

_PAPER = "Urain et al. 2023, arXiv:2209.03855"
F64 = torch.float64


@attrs.frozen(kw_only=True)
class Kernels(Claim):
    """Exponentiated Gaussians and Brownian motion."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "on SO(3) the heat kernel's series of characters equals e^{sigma^2/8} sum_k n(a_k) j_k over the branches "
        "a_k = a + 2 pi k, j = (a_k/2)/sin(a_k/2), and the law of exp(sigma z), which the paper draws its noise from, "
        "is the same sum with j_k^2 and integrates to 1"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest difference of densities, of the highest one, at random sigma in [0.2, 0.75], and of the integral.

        Tolerance 1e-9. Sabotage takes the law of the noise for the heat kernel. Numbers: the two's distance in total
        variation at sigma(1) = 0.7355 and at 0.2.
        """
        drawn = torch.rand(1, generator=torch.Generator().manual_seed(seed)).item()
        sigma = 0.2 + 0.55 * drawn
        angle = (torch.arange(4000, dtype=F64) + 0.5) * math.pi / 4000
        volume = 8 * math.pi * (1 - angle.cos()) * math.pi / 4000

        def both(width: float) -> tuple[Tensor, Tensor]:
            return heat_kernel(angle, width, 80), log_branches(angle, width, 2).exp()

        heat, noise = both(sigma)
        guess = noise if sabotage else (log_branches(angle, sigma, 1) + sigma**2 / 8).exp()
        off = float((guess - heat).abs().max() / heat.max())
        mass = abs(float((noise * volume).sum()) - 1)
        numbers = {"difference": off, "mass": mass}
        for width in (0.2, float(Se3Gaussian().sigma(torch.tensor(1.0)))):
            h, n = both(width)
            numbers[f"variation at {width:.4f}"] = float(((h - n).abs() * volume).sum() / 2)
        return Measure(effect=1e-9 - max(off, mass), numbers=numbers)


@attrs.frozen(kw_only=True)
class LieDerivative(Claim):
    """Gradients against finite differences."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "the score is -d/dh E(R exp(h e_i), p + h e_i) by central differences, and R times its rotation is the "
        "derivative along exp(h e_i) R, so a move on the left by the one is a move on the right by the other "
        f"({_PAPER}, eq. 7)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest difference in float64 for random weights and poses; tolerance 1e-7 (h = 1e-5).

        Sabotage differentiates in the axis-angle coordinates of R, as the published code does.
        """
        with seeded(seed):
            net = PoseEnergy(width=16, points=4).double().requires_grad_(False)
        process, t, h = Se3Gaussian(), torch.tensor(0.4, dtype=F64), 1e-5
        x = UniformPoses(Poses().like(4, dtype=F64)).sample(Rng.of(seed, 4))
        w, u = leaves_of(net(x, t, Condition(), process=process).score)
        R, p = leaves_of(x)
        if sabotage:
            w = (so3.left_jacobian(so3.log(R)) @ w[..., None])[..., 0]

        def slope(moved: list[State]) -> Tensor:
            plus, minus = (net.energy(y, t, Condition(), process=process) for y in moved)
            return -(plus - minus) / (2 * h)

        gaps = {"body": 0.0, "world": 0.0, "position": 0.0, "moves": 0.0}
        world = (R @ w[..., None])[..., 0]
        for i in range(3):
            e = torch.zeros(4, 3, dtype=F64)
            e[:, i] = 1
            body = slope([{"R": R @ so3.exp(s * h * e), "p": p} for s in (1, -1)])
            left = slope([{"R": so3.exp(s * h * e) @ R, "p": p} for s in (1, -1)])
            place = slope([{"R": R, "p": p + s * h * e} for s in (1, -1)])
            found = {"body": body - w[:, i], "world": left - world[:, i], "position": place - u[:, i]}
            gaps |= {name: max(gaps[name], float(v.abs().max())) for name, v in found.items()}
        gaps["moves"] = float((so3.exp(world) @ R - R @ so3.exp(w)).abs().max())
        return Measure(effect=1e-7 - max(gaps.values()), numbers=gaps)


@attrs.frozen(kw_only=True)
class FindsThePose(Claim):
    """One pose."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "with the energy |log(H_0^{-1} H)|^2 / (2 sigma_t^2) of one pose and the published settings, sampling from the "
        f"prior ends on that pose: the final moves halve the distance each ({_PAPER}, eq. 7 and code)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest distance of 8 samples in float64; tolerance 1e-9. Sabotage leaves out the descent."""
        x = UniformPoses(Poses().like(1, dtype=F64)).sample(Rng.of(seed, 1).at("pose"))
        numbers = tuple(torch.cat([x["p"], so3.log(x["R"])], dim=1)[0].tolist())  # type: ignore[call-overload]
        sampler = Se3Langevin(descents=0) if sabotage else Se3Langevin()
        system = System(model=PoseMixture(poses=(numbers,)), space=Poses(), process=Se3Gaussian(), sampler=sampler)
        off = float(distances(system.sample(8, seed=seed, dtype=F64), x).max())
        return Measure(effect=1e-9 - off, numbers={"distance": off})


def _four_modes(seed: int, steps: int, *, sabotage: bool) -> dict[str, float]:
    """The energy's and the autoencoder's 128 samples: distance to fresh data, share on a mode, coverage."""
    modes = UniformPoses(Poses().like(4)).sample(Rng.of(seed, 4).at("modes"))
    at = torch.arange(512) % 4
    about = rows(modes, at)
    data, fresh = (move(about, scaled(0.1, tangent_noise(about, Rng.of(seed, 512).at(k)))) for k in ("data", "new"))
    with seeded(seed):
        net = PoseEnergy()
    widest = Se3Langevin(descents=0, floor=0.999, step_size=float(Se3Gaussian().sigma(torch.tensor(0.999)) ** 2))
    sampler = widest if sabotage else Se3Langevin()
    system = System(model=net, space=Poses(), process=Se3Gaussian(), sampler=sampler)
    fit(system, Se3Dsm(), rows_of(data), steps=steps, batch=128, seed=seed, learning_rate=2e-2, decay=True)
    vae = fit_vae(data, 128, steps=5 * steps, batch=128, seed=seed, width=net.width)
    numbers = {}
    for name, x in {"energy": system.sample(128, seed=seed), "vae": vae}.items():
        far = distances(x, modes)
        numbers[f"{name}: distance"] = earth_mover(x, rows(fresh, slice(0, 128)))
        numbers[f"{name}: on a mode"] = float((far.amin(1) < 0.6).double().mean())
        numbers[f"{name}: rarest mode"] = float(far.argmin(1).bincount(minlength=4).min()) / 128
    return numbers


@attrs.frozen(kw_only=True)
class OnTheModes(Claim):
    """Samples that are grasps."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "for poses about four random ones (deviation 0.1), at least twice as many samples of a learned energy as of a "
        "variational autoencoder of the same width, given as much computation and five times the steps, are within "
        f"|dp| + angle = 0.6 of one of the four ({_PAPER}, section V.A, where a simulated gripper judges)"
    )

    steps: int = setting(150, "training steps of the energy", ge=1)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The energy's share less twice the autoencoder's, by the published sampler.

        Sabotage does not anneal: it makes as many Langevin moves at the widest noise, and none without noise.
        """
        numbers = _four_modes(seed, self.steps, sabotage=sabotage)
        return Measure(effect=numbers["energy: on a mode"] - 2 * numbers["vae: on a mode"], numbers=numbers)


@attrs.frozen(kw_only=True)
class NearerThanVae(Claim):
    """The distance between distributions."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "in the same experiment the earth mover's distance, cost |dp| + angle, of the energy's samples to fresh data "
        f"is at most 0.6 of the autoencoder's ({_PAPER}, section V.A)"
    )
    does_not_hold: ClassVar[str] = (
        "it is below the autoencoder's for every seed, but by less: nearly all samples lie on modes and every mode is "
        "found, yet how often each is depends on which modes the prior's far poses, which no training noise reaches, "
        "roll down to"
    )

    steps: int = setting(150, "training steps of the energy", ge=1)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """0.6 of the autoencoder's distance less the energy's. Sabotage as for ``OnTheModes``."""
        numbers = _four_modes(seed, self.steps, sabotage=sabotage)
        return Measure(effect=0.6 * numbers["vae: distance"] - numbers["energy: distance"], numbers=numbers)


@attrs.frozen(kw_only=True)
class JointIsBetter(Claim):
    """Three grasps, two of them blocked."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "over scenes in which a disc blocks two of three grasps, joint inverse diffusion of grasp and trajectory "
        "succeeds in at least 15 points more of them than drawing one grasp and planning to it with as many particles "
        f"and moves ({_PAPER}, section V.B, at reduced scale with exact energies)"
    )

    scenes: int = setting(30, "scenes of a seed", ge=1)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference of success rates less 0.15. Sabotage draws a grasp for the joint method, too."""
        system, task = three_grasps(), GraspAndMotion(particles=16)
        inputs, _ = blocked_scenes(self.scenes, seed)
        draws = torch.randint(3, (2, self.scenes), generator=torch.Generator().manual_seed(seed))
        one, other = ({**inputs, "cond": Condition(label=row)} for row in draws)
        joint = task.run(system, other if sabotage else inputs, Rng.of(seed, 1)).metrics
        apart = task.run(system, one, Rng.of(seed, 1)).metrics
        numbers = {"joint": joint["success"], "one draw": apart["success"], "joint, free": joint["free"]}
        return Measure(effect=joint["success"] - apart["success"] - 0.15, numbers=numbers)
