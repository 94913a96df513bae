"""What the paper says: the identities behind the objectives, and what local search adds."""

from __future__ import annotations

import math
from functools import cache
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_energies.gaussian import Gaussian
from suffuse_energies.lattice import Lattice
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Process, as_time
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Claim, Measure
from suffuse.rng import Rng
from suffuse.state import State, combine
from suffuse.system import System
from suffuse.testing.fitting import fit, seeded
from suffuse_gfn_diffusion.balance import ReverseKl, TrajectoryBalance, residual
from suffuse_gfn_diffusion.local_search import LocalSearch
from suffuse_gfn_diffusion.network import FourierMlp
from suffuse_gfn_diffusion.paths import backward, evaluate, forward, log_weights
from suffuse_gfn_diffusion.policy import Policy
from suffuse_gfn_diffusion.process import Pinned
from suffuse_gfn_diffusion.sampler import EulerMaruyama

__all__ = ["FindsModes", "Gradients", "Likelihood", "Reference"]

F64 = torch.float64


class Linear(Denoiser):
    """The drift ``c x``, for which the policy is Gaussian."""

    provides: ClassVar[frozenset[str]] = frozenset({"mean"})

    def __init__(self, c: float) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.tensor(c, dtype=F64))

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Mean:
        """``x0 = x_t + t c x_t``."""
        assert isinstance(process, Pinned)
        t = as_time(t)
        return Mean(value=combine(1 + t * self.c, x_t, 0.0, x_t), x_t=x_t, t=t, process=process, mix=(1.0, 0.0))


def linear_system(c: float, *, scale: float, steps: int, dim: int) -> System:
    """Its policy's samples have the variance ``v_T``, ``v_{i+1} = (1 + c/T)^2 v_i + scale/T``, ``v_0 = 0``."""
    return System(
        model=Linear(c), process=Pinned(scale=scale), sampler=EulerMaruyama(steps=steps), space=Euclidean(shape=(dim,))
    )


@attrs.frozen(kw_only=True)
class Reference(Claim):
    """The uncontrolled motion."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "with zero drift and R = N(0, scale I) every residual of TB, DB and SubTB is zero on any trajectory, "
        "on-policy, explored or backward (arXiv:2402.05098: the backward policy is the motion's own)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest residual of 64 trajectories up to each state, in float64: those of all parts are differences.

        Sabotaged, without log PB.
        """
        scale, rng, worst = 2.5, Rng.of(seed, 64), {}
        with seeded(seed):
            policy = Policy(backbone=FourierMlp(dim=3)).double()
        system = System(
            model=policy, process=Pinned(scale=scale), sampler=EulerMaruyama(steps=20), space=Euclidean(shape=(3,))
        )
        target = Gaussian(dim=3, std=math.sqrt(scale))
        for name, states in {
            "on-policy": forward(system, rng),
            "explored": forward(system, rng, exploration=0.3),
            "backward": backward(system, 3 * rng.at("x").normal(torch.empty(64, 3, dtype=F64)), rng),
        }.items():
            paths = evaluate(system, states, rng)
            ratio = (paths.log_pf if sabotage else paths.log_ratio).detach()
            # The motion's law at time u from the origin; at the end it is the normalised target.
            laws = [Gaussian(dim=3, std=math.sqrt(scale * float(1 - t))) for t in paths.times[1:]]
            log_p = torch.stack([-g.energy(x) - g.log_z for g, x in zip(laws, states[1:], strict=True)])
            whole = residual(target, paths).detach() if not sabotage else ratio.sum(0) + target.energy(states[-1])
            off = torch.cat([ratio.cumsum(0) - log_p, (whole + target.log_z)[None]])
            worst[name] = float(off.abs().max())
        return Measure(effect=1e-9 - max(worst.values()), numbers=worst)


@attrs.frozen(kw_only=True)
class Likelihood(Claim):
    """The density of samples."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "for a Gaussian policy E[PF/PB] over backward trajectories from x is the density at which the policy samples x "
        "(arXiv:2402.05098), within five standard errors"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Five less the largest error of ``mean PF/(PB p) - 1`` in standard errors at three points.

        Sabotaged, PB is that of a motion 1.5 times as wide, and trajectories are still drawn from the other.
        """
        n, steps, scale, c, v = 20_000, 10, 1.0, -1.0, 0.0
        for _ in range(steps):
            v = (1 + c / steps) ** 2 * v + scale / steps
        system = linear_system(c, scale=scale, steps=steps, dim=1)
        other = attrs.evolve(system, process=Pinned(scale=1.5 * scale if sabotage else scale))
        worst, law = {}, Gaussian(dim=1, std=math.sqrt(v))
        for x0 in (0.0, 0.8, -1.5):
            x = torch.full((n, 1), x0, dtype=F64)
            rng = Rng.of(seed, n).at(str(x0))
            with torch.no_grad():
                states = backward(system, x, rng)
                paths, wide = evaluate(system, states, rng), evaluate(other, states, rng)
                log_pb = (wide.log_pf - wide.log_ratio).sum(0)
                w = (paths.log_pf.sum(0) - log_pb + law.energy(x) + law.log_z).exp()
            worst[f"at {x0:g}"] = float((w.mean() - 1).abs() / (w.std() / math.sqrt(n)))
        return Measure(effect=5 - max(worst.values()), numbers=worst)


@attrs.frozen(kw_only=True)
class Gradients(Claim):
    """On-policy, balance is divergence."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "on-policy, the expected gradient of trajectory balance is that of the reverse KL divergence, whatever log Z "
        "(Malkin et al. 2023, arXiv:2210.00580), within five standard errors"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Five less the difference of two Monte-Carlo gradients, in standard errors, for a policy with one weight.

        Sabotaged, trajectories are explored: the identity holds on-policy only.
        """
        target, numbers, errors = Gaussian(dim=2, std=0.5), {}, []
        system = linear_system(0.4, scale=1.0, steps=5, dim=2)
        balance = TrajectoryBalance(target=target, exploration=0.5 if sabotage else 0.0)
        with torch.no_grad():
            balance.scaled_log_z += 0.003
        for name, objective in (("balance", balance), ("divergence", ReverseKl(target=target))):
            state, slopes = {"iteration": 0}, []
            for k in range(40):
                loss = objective.loss("model", None, system, state, Rng.of(seed, 500).at(name, k))
                slopes.append(torch.autograd.grad(loss.per_sample.mean(), system.model.parameters())[0])
            values = torch.stack(slopes)
            numbers[name] = float(values.mean())
            errors.append(float(values.std()) / math.sqrt(len(values)))
        off = abs(numbers["balance"] - numbers["divergence"]) / math.hypot(*errors)
        return Measure(effect=5 - off, numbers={**numbers, "off, in standard errors": off})


# Nine Gaussians, and a motion too narrow to meet them by chance.
_NINE = Lattice(side=3)
_SEARCH = LocalSearch(every=10, steps=40, burn_in=20)


def _train(seed: int, search: LocalSearch | None, *, steps: int = 200) -> dict[str, float]:
    """Modes found by 2000 samples (at least 20 of them within three standard deviations), and their log Z."""
    with seeded(seed):
        policy = Policy(backbone=FourierMlp())
        exploration = {} if search is None else {"exploration": 0.3, "exploration_steps": steps // 2}
        objective = TrajectoryBalance(target=_NINE, local_search=search, log_z_rate=50.0, **exploration)
    system = System(
        model=policy, process=Pinned(scale=2.0), sampler=EulerMaruyama(steps=10), space=Euclidean(shape=(2,))
    )
    fit(system, objective, None, steps=steps, batch=128, seed=seed, learning_rate=2e-3, clip=50.0)
    x, log_w = log_weights(system, _NINE, Rng.of(seed, 2000).at("test"))
    modes = _NINE.modes(x)
    counts = modes[modes >= 0].bincount(minlength=9)
    return {"modes": float((counts >= 20).sum()), "log Z": float(log_w.logsumexp(0) - math.log(len(log_w)))}


@cache
def _on_policy(seed: int) -> dict[str, float]:
    return _train(seed, None)


@attrs.frozen(kw_only=True)
class FindsModes(Claim):
    """Local search."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "with exploration, local search and replay trajectory balance finds at least two more of nine modes than "
        "on-policy at equal training steps (arXiv:2402.05098)"
    )
    margin: ClassVar[float] = 2.0

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The difference in modes. Sabotaged, the Langevin chains stand still: samples are replayed as drawn."""
        search = attrs.evolve(_SEARCH, step_size=1e-12, burn_in=0, steps=2) if sabotage else _SEARCH
        ours, theirs = _train(seed, search), _on_policy(seed)
        numbers = {f"{k}, local search": v for k, v in ours.items()} | {f"{k}, on-policy": v for k, v in theirs.items()}
        return Measure(effect=ours["modes"] - theirs["modes"], numbers=numbers)
