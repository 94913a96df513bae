"""A plugin whose denoiser is exact and small: images 8x8 in ten classes, each class a Gaussian around its template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoiser, evaluate_many
from suffuse.contracts.network import check_labels
from suffuse.contracts.objective import Objective
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Gaussian, Kernel, as_time
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Dataset, Example, Metric, Result, Task
from suffuse.errors import InvalidInput
from suffuse.hooks import hookimpl
from suffuse.parts import Range, UnitWeight
from suffuse.pipeline import Pipeline
from suffuse.records import Component, Paper, Plugin
from suffuse.regression import denoising_loss
from suffuse.rng import Rng
from suffuse.system import System

plugin = Plugin(paper=Paper(title="Toys", year=2024, kind="method", arxiv="2401.00001", authors="A. Author"))
weights = Path(__file__).parent / "weights"
not_weights = 3
TAU = 0.1


@attrs.frozen(kw_only=True)
class Vp(Gaussian):
    def kernel(self, t: Tensor) -> Kernel:
        return Kernel((t * torch.pi / 2).cos(), (t * torch.pi / 2).sin())

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.atan((-log_snr / 2).exp()) * 2 / torch.pi


@attrs.define(eq=False, slots=False, kw_only=True, on_setattr=attrs.setters.NO_OP)
class Templates(Denoiser):
    """The exact conditional mean; the templates are its weights."""

    provides: ClassVar[frozenset[str]] = frozenset({"mean", "conditional"})

    side: int = setting(8, "pixels a side", ge=1)
    trained: Gaussian = setting(factory=Vp, doc="the process of training")

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def __attrs_post_init__(self) -> None:
        self.means = nn.Parameter(torch.rand(10, 1, self.side, self.side) * 1.6 - 0.8)

    def check(self, cond: Condition) -> None:
        check_labels(cond, 10)

    def forward(self, x_t, t, cond, *, process, s=None, rng=None) -> Mean:
        alpha, sigma = (float(w) for w in process.scalars(as_time(t)))
        variance = alpha**2 * TAU**2 + sigma**2
        residual = x_t[:, None] - alpha * self.means  # (B, 10, 1, h, w)
        logits = -0.5 * (residual**2).flatten(2).sum(2) / variance
        if "label" in cond:
            others = nn.functional.one_hot(cond["label"], 10) == 0
            logits = logits.masked_fill(others & cond.present("label")[:, None], -torch.inf)
        x0 = self.means + alpha * TAU**2 / variance * residual
        mean = (logits.softmax(1)[:, :, None, None, None] * x0).sum(1)
        return Mean(value=mean, x_t=x_t, t=as_time(t), process=process, mix=(1.0, 0.0))


@attrs.frozen(kw_only=True)
class Euler(Sampler):
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    churn: float = setting(0.0, "noise added to each step", ge=0, le=1)

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        found = system.denoise(carry.x, t, carry.cond, s=s, rng=rng)
        alpha, sigma = (float(w) for w in system.process.scalars(s))
        x = alpha * found.x0 + sigma * found.eps
        if self.churn:
            x = x + 0.01 * self.churn * rng.normal(x)
        info = StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=found, nfe=found.nfe)
        return carry.advance(x), info


@attrs.frozen(kw_only=True)
class Slow(Euler):
    """Waits for longer than any test does."""

    def step(self, system, carry, t, s, rng):
        import time

        if carry.n == 2:
            print("sampling", flush=True)
            time.sleep(60)
        return Euler.step(self, system, carry, t, s, rng)


@attrs.frozen(kw_only=True)
class Pull(Guidance):
    needs: ClassVar[frozenset[str]] = frozenset({"conditional"})

    scale: float = setting(1.0, "1 is off", ge=0)

    def denoiser(self, inner, system):
        def denoise(x_t, t, cond, *, s=None, rng=None):
            one, two = evaluate_many(inner, x_t, t, [cond, cond.drop()], s=s, rng=rng)
            return attrs.evolve(one, value=two.value + self.scale * (one.value - two.value), nfe=2)

        return denoise


@attrs.frozen(kw_only=True)
class Wants(Guidance):
    needs: ClassVar[frozenset[str]] = frozenset({"jump"})


@attrs.frozen(kw_only=True)
class Rows(Dataset):
    size: int = setting(40, "rows", ge=1)

    def __len__(self) -> int:
        return self.size

    def rows(self, index: Tensor, rng: Rng) -> Example:
        label = index % 10
        means = torch.linspace(0, 1, 10)[label][:, None, None, None].expand(-1, 1, 8, 8)
        return Example(x=means.clone(), cond=Condition(label=label))


@attrs.frozen(kw_only=True)
class Distance(Metric):
    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``distance``: lower is better."""
        return {"distance": float((samples.x.mean() - reference.x.mean()).abs())}


@attrs.frozen(kw_only=True)
class Describe(Task):
    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        if unknown := set(inputs) - {"n"}:
            raise InvalidInput(f"unknown inputs {sorted(unknown)}; this task takes n")
        x = system.sample(int(inputs.get("n", 4)), seed=rng.seed())
        rows = [{"sample": i, "mean": float(v.mean())} for i, v in enumerate(x)]
        return Result(
            metrics={"mean": float(x.mean())}, tables={"means": rows}, pictures={"first": x[0]}, states={"x": x}
        )


@attrs.frozen(kw_only=True)
class Regress(Objective):
    rate: float = setting(1.0, "times the squared error", gt=0)
    wait: float = setting(0.0, "seconds a step", ge=0)

    def loss(self, player, batch, system, state, rng):
        import time

        time.sleep(self.wait)
        t = torch.tensor(0.3, dtype=torch.float64)
        return attrs.evolve(loss := denoising_loss(system, batch, t, UnitWeight().weight, rng),
                            per_sample=self.rate * loss.per_sample)  # fmt: skip


def _component(name: str, target: str, summary: str = "", **capabilities: Any) -> Component:
    return Component(name=name, target=f"suffuse_toy:{target}", summary=summary, **capabilities)


@hookimpl
def suffuse_processes():
    gives = {"gaussian", "linear-gaussian", "markov", "sde"}
    return [_component("vp", "Vp", "a cosine schedule", gives=gives)]


@hookimpl
def suffuse_samplers():
    needs = {"gaussian", "mean"}
    return [
        _component("euler", "Euler", "one evaluation a step", needs=needs),
        _component("slow", "Slow", "one evaluation a minute", needs=needs),
    ]


@hookimpl
def suffuse_guidance():
    return [
        _component("pull", "Pull", "towards the class", needs={"conditional"}),
        _component("wants", "Wants", "what nobody gives", needs={"jump"}),
    ]


@hookimpl
def suffuse_objectives():
    return [_component("regress", "Regress", "at one noise level", needs={"gaussian", "mean"})]


@hookimpl
def suffuse_datasets():
    return [_component("rows", "Rows", "grey squares")]


@hookimpl
def suffuse_metrics():
    return [_component("distance", "Distance", "between means")]


@hookimpl
def suffuse_tasks():
    return [_component("describe", "Describe", "says what samples are like")]


@hookimpl
def suffuse_weights():
    return [_component("squares", "weights", "ten squares"), _component("broken", "not_weights")]


@hookimpl
def suffuse_parts():
    gives = {"mean", "conditional"}
    return [_component("templates", "Templates", "an exact denoiser", kind="denoiser", gives=gives)]


def make(folder: Path, registry: Any, means: Tensor | None = None) -> None:
    """Save a pipeline with random templates, or with these."""
    torch.manual_seed(0)
    model = Templates()
    if means is not None:
        model.means.data.copy_(means)
    system = System(model=model, space=Euclidean(shape=(1, 8, 8)), sampler=Euler(steps=6), codec=Range())
    Pipeline(system=system, card={"title": "Squares"}).save(folder, registry=registry)
