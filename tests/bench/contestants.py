"""The same network, solver and steps in suffuse, in a bare loop, in diffusers and in azula.

All walk DDPM's linear chain of 1000 steps with an eps-predicting network, at the times ``n = 1000 (1 - i/steps)`` and
then 0. Each contestant is a function of an optional start; without one it draws noise of its own, as it would in use.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from azula.denoise import Denoiser, DiracPosterior
from azula.noise import Schedule
from azula.sample import DDIMSampler
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.parameterization import Eps
from suffuse_ddpm.unet import UNet
from suffuse_dpm_solver_pp.multistep import Multistep
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.space import Euclidean
from suffuse.preconditioned import Preconditioned
from suffuse.system import System

__all__ = ["Run", "contestants"]

CHAIN = 1000

Run = Callable[[Tensor | None], Tensor]


def contestants(solver: str, network: UNet, shape: tuple[int, ...], steps: int) -> dict[str, Run]:
    """Who can run this solver, by name; ``shape`` is that of a batch."""
    makers = {"suffuse": suffuse, "bare": bare, "diffusers": diffusers}
    if solver == "ddim":  # azula's multistep solvers integrate in another way than DPM-Solver++ 2M
        makers["azula"] = azula
    return {name: make(solver, network, shape, steps) for name, make in makers.items()}


def suffuse(solver: str, network: UNet, shape: tuple[int, ...], steps: int) -> Run:
    """A composed system."""
    system = System(
        model=Preconditioned(backbone=network, parameterization=Eps(), trained=Discrete(T=CHAIN)),
        space=Euclidean(shape=shape[1:]),
        sampler=Ddim(steps=steps) if solver == "ddim" else Multistep(steps=steps, lower_order_final=False),
    )
    return lambda start: system.sample(shape[0] if start is None else None, start=start)


def bare(solver: str, network: UNet, shape: tuple[int, ...], steps: int) -> Run:
    """The loop that one writes by hand: coefficients as numbers, made once."""
    beta = torch.linspace(1e-4, 0.02, CHAIN, dtype=torch.float64)
    signal = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
    alpha, sigma = signal.sqrt().tolist(), (1 - signal).sqrt().tolist()
    chain = [CHAIN - i * CHAIN // steps for i in range(steps + 1)]
    none = Condition()

    def predict(x: Tensor, n: int) -> tuple[Tensor, Tensor]:
        eps = network(x, torch.full((shape[0],), n - 1.0), none)
        return (x - sigma[n] * eps) / alpha[n], eps

    def ddim(start: Tensor | None) -> Tensor:
        x = torch.randn(shape) if start is None else start
        for n, m in pairwise(chain):
            x0, eps = predict(x, n)
            x = alpha[m] * x0 + sigma[m] * eps
        return x

    half_log_snr = (signal.log() / 2 - (1 - signal).log() / 2).tolist()  # infinite at n = 0

    def two_m(start: Tensor | None) -> Tensor:
        x = torch.randn(shape) if start is None else start
        last: tuple[Tensor, float] | None = None
        for n, m in pairwise(chain):
            x0, eps = predict(x, n)
            step = half_log_snr[m] - half_log_snr[n]
            if last is None or m == 0:
                x = alpha[m] * x0 + sigma[m] * eps
            else:
                mixed = x0 + step / (2 * last[1]) * (x0 - last[0])
                ratio = sigma[m] / sigma[n]
                x = ratio * x + (alpha[m] - ratio * alpha[n]) * mixed
            last = x0, step
        return x

    return ddim if solver == "ddim" else two_m


def diffusers(solver: str, network: UNet, shape: tuple[int, ...], steps: int) -> Run:
    """The loop of its pipelines around its scheduler."""
    if solver == "ddim":
        scheduler = DDIMScheduler(
            num_train_timesteps=CHAIN,
            beta_start=1e-4,
            beta_end=0.02,
            clip_sample=False,
            set_alpha_to_one=True,
            timestep_spacing="trailing",
        )
    else:
        scheduler = DPMSolverMultistepScheduler(
            num_train_timesteps=CHAIN,
            beta_start=1e-4,
            beta_end=0.02,
            algorithm_type="dpmsolver++",
            solver_order=2,
            timestep_spacing="trailing",
            final_sigmas_type="zero",
        )
    none = Condition()

    def run(start: Tensor | None) -> Tensor:
        x = torch.randn(shape) if start is None else start
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            eps = network(x, t.to(x.dtype).expand(shape[0]), none)
            x = scheduler.step(eps, t, x).prev_sample
        return x

    return run


class Chain(Schedule):
    """The chain's signal and noise at ``t = n/1000``, from a table."""

    def __init__(self) -> None:
        beta = torch.linspace(1e-4, 0.02, CHAIN, dtype=torch.float64)
        signal = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
        self.alpha, self.sigma = signal.sqrt().float(), (1 - signal).sqrt().float()

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(alpha_t, sigma_t)``."""
        n = (t * CHAIN).round().long()
        return self.alpha[n], self.sigma[n]


class EpsDenoiser(Denoiser):
    """A network that predicts the noise, as azula's denoisers are made."""

    def __init__(self, backbone: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.backbone, self.schedule, self.none = backbone, schedule, Condition()

    def forward(self, x_t: Tensor, t: Tensor) -> DiracPosterior:
        """``(x_t - sigma_t eps)/alpha_t``."""
        alpha_t, sigma_t = self.schedule(t)
        eps = self.backbone(x_t, (CHAIN * t - 1).expand(len(x_t)), self.none)
        return DiracPosterior(mean=(x_t - sigma_t * eps) / alpha_t)


def azula(solver: str, network: UNet, shape: tuple[int, ...], steps: int) -> Run:
    """Its sampler around a denoiser in its own idiom."""
    sampler = DDIMSampler(EpsDenoiser(network, Chain()), steps=steps, silent=True)
    return lambda start: sampler(torch.randn(shape) if start is None else start)
