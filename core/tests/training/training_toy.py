"""Small parts to train: importable, so that subprocesses of the tests can run the same experiments."""

from __future__ import annotations

import sys
from typing import ClassVar

import attrs
import torch
from torch import nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Parameterization
from suffuse.contracts.network import Backbone
from suffuse.contracts.objective import Loss, Objective, Player
from suffuse.contracts.part import Part, setting
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Dataset, Example
from suffuse.loading import Loaded, Outcome
from suffuse.parts import UniformTimes
from suffuse.preconditioned import Preconditioned
from suffuse.records import Component, Origin, Plugin
from suffuse.registry import Registry
from suffuse.registry import registry as installed
from suffuse.regression import denoising_loss
from suffuse.system import System
from suffuse.testing.stand_ins import Circle, FirstOrder, NoisePrediction
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Interrupted, Trainer

module = attrs.define(eq=False, slots=False, kw_only=True, on_setattr=attrs.setters.NO_OP)


@module
class Net(Backbone):
    """Two layers with dropout, a buffer that training changes, and tied weights."""

    width: int = setting(16, ge=1)
    dropout: float = setting(0.2, ge=0, lt=1)

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def __attrs_post_init__(self) -> None:
        hidden = nn.Sequential(nn.Linear(3, self.width), nn.SiLU(), nn.Dropout(self.dropout))
        self.blocks = nn.ModuleDict({"hidden": hidden, "out": nn.Linear(self.width, 2)})
        self.again = nn.Linear(self.width, 2)
        self.again.weight = self.blocks["out"].weight
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, c_noise, cond):
        if self.training:
            self.calls += 1
        h = self.run("hidden", torch.cat([x, c_noise[:, None]], dim=1))
        return self.run("out", h) + self.again(h)


@attrs.frozen(kw_only=True)
class Ring(Dataset):
    """Points on a circle; from row ``bad`` on they are NaN. ``rows`` adds noise of its own, as augmentation does."""

    size: int = setting(96, ge=1)
    bad: int = setting(10**9)

    def __len__(self) -> int:
        return self.size

    def rows(self, index, rng):
        angle = index.double() * (2 * torch.pi / self.size)
        x = torch.stack([angle.cos(), angle.sin()], dim=1).float() + 0.01 * rng.normal(torch.empty(len(index), 2))
        return Example(x=torch.where(index[:, None] >= self.bad, torch.nan, x), cond=Condition())


@attrs.frozen(kw_only=True)
class Regression(Objective):
    """Plain denoising; from step ``diverges`` on the loss is NaN."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    diverges: int = setting(10**9)

    def start(self, system, rng):
        return {"steps": 0, "mean": torch.zeros(2)}

    def loss(self, player, batch, system, state, rng):
        t, _ = UniformTimes().draw(system.process, len(batch.index), rng)
        loss = denoising_loss(system, batch, t, lambda p, u, mix: torch.ones_like(u), rng)
        return Loss(loss.per_sample * torch.nan) if state["steps"] >= self.diverges else loss

    def after(self, state, step, system, rng):
        return {"steps": state["steps"] + 1, "mean": state["mean"] + rng.normal(torch.empty(rng.size, 2)).mean(0)}


@module
class Duel(Objective, nn.Module):
    """Two players: a critic that fits the data's norm at every second step, thrice, and the model."""

    width: int = setting(4)

    def __attrs_pre_init__(self) -> None:
        nn.Module.__init__(self)

    def __attrs_post_init__(self) -> None:
        self.critic = nn.Linear(2, self.width)
        self.turns: list[tuple[str, tuple[int, ...]]] = []

    def players(self, system):
        critic = Player(modules=(self.critic,), every=2, repeats=3, learning_rate_scale=0.5)
        return {"critic": critic, "model": Player(modules=(system.model,))}

    def loss(self, player, batch, system, state, rng):
        self.turns.append((player, tuple(batch.index.tolist())))
        if player == "critic":
            return Loss((self.critic(batch.x) - 1).square().mean(1))
        return Regression().loss(player, batch, system, {"steps": 0}, rng)


def loaded(*classes: type[Part]) -> Loaded:
    records = []
    for c in classes:
        gives = frozenset().union(*(vars(b).get("provides", ()) for b in c.__mro__))
        target = f"{c.__module__}:{c.__qualname__}"
        records.append(Component(name=c.__name__.lower(), target=target, kind=c.kind, needs=c.needs, gives=gives))
    origin = Origin(dist="suffuse-toy", version="1", key="toy", path="")
    return Loaded(origin=origin, plugin=Plugin(paper=None), components=tuple(records))


def registry(*, without: bool = False) -> Registry:
    """The core's parts, and the toys unless ``without``."""
    core = next(p for p in installed().plugins() if p.origin.key == "suffuse")
    toys = loaded(Net, Ring, Regression, Duel, Circle, FirstOrder, NoisePrediction)
    return Registry(Outcome(plugins=(core,) if without else (core, toys), failures=(), blocked=()))


def system(seed: int = 0, **settings) -> System:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Net(**settings)
    parameterization: Parameterization = NoisePrediction()
    model = Preconditioned(backbone=net, parameterization=parameterization, trained=Circle())
    return System(model=model, space=Euclidean(shape=(2,)), sampler=FirstOrder(steps=5))


def experiment(*, objective: Objective | None = None, data: Dataset | None = None, seed: int = 3, **train):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        objective = objective or Regression()
    train = {"steps": 20, "batch": 16, "learning_rate": 1e-2, "ema": 0.9, "warmup": 5, "decay": "cosine"} | train
    return Experiment(
        system=system(), objective=objective, data=data or Ring(), train=Settings(**train), seed=seed, card={"a": 1}
    )


def main(folder: str, steps: str) -> None:
    """Run and print each step, as the subprocess that tests kill."""
    run = Trainer(experiment(steps=int(steps), save_every=5, log_every=1), folder, registry=registry())
    try:
        run.run(lambda step, logs: print(step, flush=True))
    except Interrupted as error:
        print(error, flush=True)
        sys.exit(130)


if __name__ == "__main__":
    # The registry resolves targets by module name.
    import training_toy

    training_toy.main(*sys.argv[1:])
