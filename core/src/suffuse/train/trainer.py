"""The trainer: players in turn, moving averages, exact resume; on one device or many through Accelerate."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from suffuse.contracts.objective import Batch, Player, Progress
from suffuse.contracts.part import Part
from suffuse.contracts.task import Dataset
from suffuse.errors import InvalidInput, SuffuseError
from suffuse.pipeline import Pipeline
from suffuse.registry import Registry
from suffuse.rng import Rng
from suffuse.spec import unstructure
from suffuse.state import State, tree_map
from suffuse.train import checkpoint
from suffuse.train.optimizers import make_optimizer, parameters_of, prepare
from suffuse.train.settings import Experiment

__all__ = ["Diverged", "Interrupted", "Trainer"]


class Diverged(SuffuseError):
    """The loss is not finite. The last checkpoint is from before."""


class Interrupted(SuffuseError):
    """Stopped on request; the run is saved and the same command goes on."""


class Trainer:
    """Runs an experiment in a folder. A run that was stopped or killed goes on to the same bits as one that was not.

    Everything random is a function of (seed, step): batches, times, noise, dropout. Gradients are averaged over
    processes, so the result depends on the number of devices only through rounding, and through dropout, whose
    masks are each process's own.
    """

    def __init__(self, experiment: Experiment, folder: str | Path, *, registry: Registry | None = None) -> None:
        """Prepare a run; nothing is written yet.

        Raises ``InvalidInput`` for a batch that the processes cannot share or a player without parameters of its own,
        and ``SpecError`` for a system that could not be saved in the end.
        """
        self.experiment, self.folder, self.registry = experiment, Path(folder), registry
        settings = experiment.train
        self.system, self.objective = experiment.system, experiment.objective
        unstructure(self.system, registry=registry)
        self.accelerator = _accelerator(settings.precision)
        self.share, left = divmod(settings.batch, self.accelerator.num_processes)
        if left:
            raise InvalidInput(
                f"batch={settings.batch} does not divide over {self.accelerator.num_processes} processes"
            )
        self.modules = {**self.system.modules(), **dict(_modules_of(self.objective, "objective"))}
        for module in self.modules.values():
            module.to(self.accelerator.device).requires_grad_(False).eval()
        self.players = dict(self.objective.players(self.system))
        kept = {p for m in self.modules.values() for p in m.parameters()}
        for name, player in self.players.items():
            trained = {p for m in player.modules for p in m.parameters()}
            if not trained <= kept:
                raise InvalidInput(f"{name} trains what is no field of the system or the objective: it would be lost")
            for module in player.modules:
                module.requires_grad_(True).train()
        self.optimizers = {name: self._optimizer(name, player) for name, player in self.players.items()}
        self.averaged = nn.ModuleDict({path.replace(".", "/"): m for path, m in self.system.modules().items()})
        self.average = AveragedModel(self.averaged, multi_avg_fn=self._blend)
        self.progress: Progress = self.objective.start(self.system, self._rng("start"))
        self.step = 0
        self.drawn = 0  # batches, by all players

    def run(self, on_log: Callable[[int, Mapping[str, float]], None] | None = None) -> Pipeline:
        """Train to the last step and save the averaged weights as a pipeline in ``folder/pipeline``.

        Raises ``Diverged`` for a loss that is not finite and ``Interrupted`` after Ctrl-C or SIGTERM.
        """
        settings, checkpoints = self.experiment.train, self.folder / "checkpoints"
        if (last := checkpoint.latest(checkpoints)) is not None:
            self._restore(last)
        logs, began, first = _Means(), time.perf_counter(), self.step
        with _stop_requests() as asked:
            while self.step < settings.steps:
                logs.add(self._one_step())
                whole, stop = self.step == settings.steps, self._any(asked())
                save = whole or stop or self.step % settings.save_every == 0
                if save or self.step % settings.log_every == 0:
                    means = self._over_processes(logs.take())
                    self._ensure_finite(means)
                    now = time.perf_counter()
                    means["samples_per_second"] = (self.step - first) * settings.batch / (now - began)
                    began, first = now, self.step
                    self._log(means, on_log)
                if save:
                    self._save(checkpoints)
                if stop and not whole:
                    raise Interrupted(f"stopped at step {self.step}; the same command goes on from there")
        return self._finish()

    def _one_step(self) -> dict[str, Tensor]:
        logs: dict[str, Tensor] = {}
        first = self.accelerator.process_index * self.share
        for name, player in self.players.items():
            for turn in range(player.turns(self.step)):
                rng = self._rng("train", self.step, name, turn)
                batch = self._batch(rng.at("data")) if self.objective.uses_data else None
                with _seeded(self.experiment.seed, self.step, name, turn, first), self.accelerator.autocast():
                    loss = self.objective.loss(name, batch, self.system, self.progress, rng)
                value = loss.per_sample.mean()
                optimizer = self.optimizers[name]
                optimizer.zero_grad(set_to_none=True)
                self.accelerator.backward(value)
                norm = self._gradients(player)
                prepare(optimizer, player, self.step, self._rate(self.step))
                optimizer.step()
                with torch.no_grad():
                    self.objective.project(name, self.system)
                logs |= {f"{name}/loss": value.detach(), f"{name}/gradient": norm}
                logs |= {f"{name}/{k}": v for k, v in loss.logs.items()}
                self.progress = {**self.progress, **{k: self._of_all(v) for k, v in loss.seen.items()}}
        self.step += 1
        self.average.update_parameters(self.averaged)
        self.progress = self.objective.after(self.progress, self.step, self.system, self._rng("after", self.step))
        return logs

    def _rng(self, *path: int | str) -> Rng:
        """One stream for each of this process's samples: the same noise however many processes share the batch."""
        first = self.accelerator.process_index * self.share
        return Rng.of(self.experiment.seed, self.share, device=self.accelerator.device, start=first).at(*path)

    def _any(self, here: bool) -> bool:
        """Whether it holds in any process, so that all stop at one step."""
        if self.accelerator.num_processes == 1:
            return here
        flag = torch.tensor(float(here), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)

    def _of_all(self, rows: Tensor) -> Tensor:
        """The rows of every process, in the order of one that has them all."""
        return rows if self.accelerator.num_processes == 1 else cast(Tensor, self.accelerator.gather(rows))

    def _batch(self, rng: Rng) -> Batch:
        """Rows by (seed, position) in endless shuffled epochs, so a resumed run sees the same ones."""
        data, system, size = cast(Dataset, self.experiment.data), self.system, self.experiment.train.batch
        rows = len(data)
        first = self.accelerator.process_index * self.share
        place = self.drawn * size + first
        self.drawn += 1
        position = torch.arange(place, place + self.share)
        index = torch.empty(self.share, dtype=torch.long)
        for epoch in sorted(set((position // rows).tolist())):
            here = position // rows == epoch
            index[here] = _order(self.experiment.seed, epoch, rows)[position[here] % rows]
        example = data.rows(index, rng.to("cpu"))

        def send(v: State) -> State:
            return tree_map(lambda leaf: leaf.to(self.accelerator.device), v)

        def encode(v: State) -> State:
            # A codec with weights is on the device; one without is cheaper, and checked without waiting, here.
            return system.codec.encode(send(v)) if isinstance(system.codec, nn.Module) else system.codec.encode(v)

        x, end = encode(example.x), None if example.end is None else encode(example.end)
        for state in (x,) if end is None else (x, end):
            system.space.check(state)
        system.model.check(example.cond)
        return Batch(
            x=send(x),
            cond=example.cond.to(self.accelerator.device),
            index=index.to(self.accelerator.device),
            end=None if end is None else send(end),
        )

    def _gradients(self, player: Player) -> Tensor:
        """Average over processes, then clip. Works for any number of forward passes in a loss."""
        parameters = parameters_of(player)
        if self.accelerator.num_processes > 1:
            for p in parameters:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
            flat = torch.cat([cast(Tensor, p.grad).flatten() for p in parameters])
            flat = cast(Tensor, self.accelerator.reduce(flat, "mean"))
            for p, g in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
                cast(Tensor, p.grad).copy_(g.view_as(p))
        norm = self.accelerator.clip_grad_norm_(parameters, self.experiment.train.clip)
        return torch.as_tensor(0.0 if norm is None else norm).detach()

    def _optimizer(self, name: str, player: Player) -> Optimizer:
        settings = self.experiment.train
        made = make_optimizer(name, player, settings.betas, settings.weight_decay)
        return cast(Optimizer, self.accelerator.prepare_optimizer(made))

    def _rate(self, step: int) -> float:
        s = self.experiment.train
        warm = min(1.0, (step + 1) / s.warmup) if s.warmup else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * step / s.steps)) if s.decay == "cosine" else 1.0
        return s.learning_rate * warm * cosine

    def _blend(self, averaged: Any, current: Any, number: Any) -> None:  # noqa: ANN401 - torch's own signature
        own = self.objective.ema(self.step - 1)
        decay = min(self.experiment.train.ema, (1 + self.step) / (10 + self.step)) if own is None else own
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def _over_processes(self, means: dict[str, float]) -> dict[str, float]:
        """Each process's share of the batch has its own losses: what is told, and judged, is of the whole batch."""
        if self.accelerator.num_processes == 1:
            return means
        values = torch.tensor(list(means.values()), device=self.accelerator.device)
        return dict(zip(means, cast(Tensor, self.accelerator.reduce(values, "mean")).tolist(), strict=True))

    def _ensure_finite(self, logs: Mapping[str, float]) -> None:
        # In fp16 infinite gradients are the scaler's business: it skips the step and lowers the scale.
        scaled = self.accelerator.scaler is not None
        bad = [n for n, v in logs.items() if not math.isfinite(v) and not (scaled and n.endswith("/gradient"))]
        if bad:
            raise Diverged(
                f"{bad[0]} is not finite by step {self.step}: lower the learning rate or look at the data; "
                f"the last checkpoint is from before"
            )

    def _log(self, logs: Mapping[str, float], on_log: Callable[[int, Mapping[str, float]], None] | None) -> None:
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as f:
                f.write(json.dumps({"step": self.step, **logs}) + "\n")
            if on_log is not None:
                on_log(self.step, logs)

    def _state(self) -> dict[str, Any]:
        return {
            "modules": {name: m.state_dict() for name, m in self.modules.items()},
            "average": self.average.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "scaler": {} if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
            "progress": dict(self.progress),
            "drawn": self.drawn,
            "run": self._identity(),
        }

    def _identity(self) -> dict[str, Any]:
        """What must not change on the way. More steps, and how often is logged and saved, may."""
        run = {"seed": self.experiment.seed, **attrs.asdict(self.experiment.train)}
        return {k: v for k, v in run.items() if k not in ("steps", "log_every", "save_every", "keep")}

    def _save(self, folder: Path) -> None:
        if self.accelerator.is_main_process:
            checkpoint.write(folder, self.step, self._state(), self.experiment.train.keep)
        self.accelerator.wait_for_everyone()

    def _restore(self, path: Path) -> None:
        step, state = checkpoint.read(path)
        if step > self.experiment.train.steps:
            raise InvalidInput(f"{path} is at step {step}, past steps={self.experiment.train.steps}")
        was, now = state["run"], json.loads(json.dumps(self._identity()))
        if changed := [f"{k} was {was.get(k)}, is {now[k]}" for k in now if now[k] != was.get(k)]:
            raise InvalidInput(f"{path} is of another experiment ({', '.join(changed)}): choose another folder")
        try:
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            self.average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InvalidInput(f"{path} is of another experiment ({reason}): choose another folder") from error
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress = {k: self._placed(v, self.progress.get(k)) for k, v in state["progress"].items()}
        self.step, self.drawn = step, state["drawn"]

    def _placed(self, value: float | Tensor, like: float | Tensor | None) -> float | Tensor:
        """On the device of the entry that a fresh start has in this place."""
        if not isinstance(value, Tensor):
            return value
        return value.to(like.device if isinstance(like, Tensor) else self.accelerator.device)

    def _finish(self) -> Pipeline:
        self.averaged.load_state_dict(cast(nn.ModuleDict, self.average.module).state_dict())
        for module in self.modules.values():
            module.requires_grad_(False).eval()
        pipeline = Pipeline(system=self.system, card=self.experiment.card)
        if self.accelerator.is_main_process:
            pipeline.save(self.folder / "pipeline", registry=self.registry)
        self.accelerator.wait_for_everyone()
        return pipeline


class _Means:
    """Running means by name; a player that rests at some steps counts only where it played."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def add(self, logs: Mapping[str, Tensor]) -> None:
        for name, value in logs.items():
            total, n = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = total + value, n + 1

    def take(self) -> dict[str, float]:
        means = {name: float(total) / n for name, (total, n) in self._sums.items()}
        self._sums.clear()
        return means


def _accelerator(precision: str) -> Accelerator:
    try:
        return Accelerator(mixed_precision=precision)
    except ValueError as error:  # no such precision here, or another one chosen earlier in this process
        raise InvalidInput(f"precision={precision!r}: {' '.join(str(error).split())}") from error


def _modules_of(whole: object, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The outermost modules of a part, by path, whether parts themselves or not."""
    if isinstance(whole, nn.Module):
        yield path, whole
    elif isinstance(whole, Part):
        for a in attrs.fields(cast(type[attrs.AttrsInstance], type(whole))):
            value = getattr(whole, a.name)
            for i, item in enumerate(value if isinstance(value, tuple | list) else [value]):
                yield from _modules_of(item, f"{path}.{a.name}.{i}" if item is not value else f"{path}.{a.name}")


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, rows: int) -> Tensor:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(_mix(seed, epoch)))


def _mix(*parts: int | str) -> int:
    """63 bits that name a place in a run."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


@contextmanager
def _seeded(*place: int | str) -> Iterator[None]:
    """Layers such as dropout draw from torch's global generator: here it is a function of the place in the run."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_mix(*place))
        yield


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a request; a second one takes its usual course."""
    asked = False
    before: dict[int, Any] = {}

    def ask(number: int, _: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[number])

    try:
        for wanted in (signal.SIGINT, signal.SIGTERM):
            before[wanted] = signal.signal(wanted, ask)
    except ValueError:  # not the main thread: the caller handles signals
        before.clear()
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
