"""Training in memory, for claims and tests: the trainer's loop without its files, devices and signals.

with seeded(0):
    system = System(...)                      # initial weights are a function of the seed
fit(system, objective, rows_of(x, label=y), steps=500, batch=128, seed=0)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch, Objective
from suffuse.rng import Rng
from suffuse.state import State, rows, size
from suffuse.system import System
from suffuse.train.optimizers import make_optimizer, parameters_of, prepare

__all__ = ["Data", "fit", "rows_of", "seeded"]

# Gives the batch of one turn of a player; the rng has one stream for each of its samples.
Data = Callable[[Rng], Batch]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's own generator (initial weights, dropout) starts from this seed; outside nothing has changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def rows_of(x: State, *, end: State | None = None, **cond: Tensor) -> Data:
    """Rows of data in memory, drawn with replacement, with their conditions and the other end of a pair."""

    def draw(rng: Rng) -> Batch:
        at = rng.at("rows").integers(0, size(x))
        here = Condition({name: value[at] for name, value in cond.items()})
        return Batch(x=rows(x, at), cond=here, index=at, end=None if end is None else rows(end, at))

    return draw


def fit(
    system: System,
    objective: Objective,
    data: Data | None,
    *,
    steps: int,
    batch: int,
    seed: int,
    learning_rate: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    decay: bool = False,
    ema: float = 0.0,
    clip: float = 1.0,
    on_step: Callable[[int], None] | None = None,
) -> list[dict[str, Tensor]]:
    """Train the objective's players in place, as ``suffuse.train.Trainer`` does; returns each step's logs.

    ``data`` is None for objectives that draw their own batches. ``decay`` lowers the learning rate by a cosine to 0;
    with ``ema``, or an objective that has its own, the system ends with the averaged weights, whose decay ramps up as
    (1 + n)/(10 + n). ``on_step`` is told the number of steps done after each.
    """
    players, logs = dict(objective.players(system)), []
    for module in (m for player in players.values() for m in player.modules):
        module.requires_grad_(True).train()
    optimizers = {name: make_optimizer(name, player, betas, 0.0) for name, player in players.items()}
    trained = nn.ModuleList(system.modules().values())
    average = [p.detach().clone() for p in trained.parameters()]
    progress, averaged = objective.start(system, Rng.of(seed, batch).at("start")), False
    with seeded(seed):
        for step in range(steps):
            told: dict[str, Tensor] = {}
            for name, player in players.items():
                for turn in range(player.turns(step)):
                    rng = Rng.of(seed, batch).at("train", step, name, turn)
                    drawn = None if data is None else data(rng.at("data"))
                    loss = objective.loss(name, drawn, system, progress, rng)
                    prepare(
                        optimizers[name],
                        player,
                        step,
                        learning_rate * (0.5 * (1 + _cos(step / steps)) if decay else 1.0),
                    )
                    optimizers[name].zero_grad(set_to_none=True)
                    value = loss.per_sample.mean()
                    value.backward()  # type: ignore[no-untyped-call]
                    nn.utils.clip_grad_norm_(parameters_of(player), clip)
                    optimizers[name].step()
                    with torch.no_grad():
                        objective.project(name, system)
                    told |= {f"{name}/loss": value.detach(), **{f"{name}/{k}": v for k, v in loss.logs.items()}}
                    progress = {**progress, **loss.seen}
            logs.append(told)
            decayed = objective.ema(step)
            if averaged := bool(ema) or decayed is not None:
                present = [p.detach() for p in trained.parameters()]
                share = min(ema, (2 + step) / (11 + step)) if decayed is None else decayed
                torch._foreach_lerp_(average, present, 1 - share)
            progress = objective.after(progress, step + 1, system, Rng.of(seed, batch).at("after", step + 1))
            if on_step is not None:
                on_step(step + 1)
    if averaged:
        with torch.no_grad():
            torch._foreach_copy_(list(trained.parameters()), average)
    for module in (m for player in players.values() for m in player.modules):
        module.requires_grad_(False).eval()
    return logs


def _cos(share: float) -> float:
    return float(torch.cos(torch.tensor(share * torch.pi)))
