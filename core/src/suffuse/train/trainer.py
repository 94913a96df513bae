"""The trainer: players in turn, moving averages, exact resume; on one device or many through Accelerate."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from suffuse.contracts.objective import Batch, Player, Progress
from suffuse.contracts.rng import Rng
from suffuse.contracts.state import State, tree_map
from suffuse.errors import InvalidInput, SuffuseError
from suffuse.pipeline import Pipeline
from suffuse.train import checkpoint
from suffuse.train.settings import Experiment, Settings

__all__ = ["Diverged", "Interrupted", "Trainer"]


class Diverged(SuffuseError):
    """The loss is not finite. The last checkpoint is from before."""


class Interrupted(SuffuseError):
    """Stopped on request; the run is saved and the same command goes on."""


class Trainer:
    """Runs an experiment in a folder. A run that was stopped or killed goes on to the same bits as one that was not.

    Everything random is a function of (seed, step): batches, times, noise, dropout. Gradients are averaged over
    processes, so the result depends on the number of devices only through rounding.
    """

    def __init__(self, experiment: Experiment, folder: str | Path) -> None:
        self.experiment, self.folder = experiment, Path(folder)
        settings = experiment.train
        self.accelerator = Accelerator(mixed_precision=settings.precision)
        share, left = divmod(settings.batch, self.accelerator.num_processes)
        if left:
            raise InvalidInput(
                f"batch={settings.batch} does not divide over {self.accelerator.num_processes} processes"
            )
        self.share = share
        self.system, self.objective = experiment.system, experiment.objective
        modules = dict(self.system.modules())
        if isinstance(self.objective, nn.Module):
            modules["objective"] = self.objective
        self.modules = {name: m.to(self.accelerator.device) for name, m in modules.items()}
        self.players = dict(self.objective.players(self.system))
        trained = {p for player in self.players.values() for m in player.modules for p in m.parameters()}
        for module in self.modules.values():
            module.train()
            for p in module.parameters():
                p.requires_grad_(p in trained)
        self.optimizers = {name: self._optimizer(player, settings) for name, player in self.players.items()}
        self.average = AveragedModel(self._together(), multi_avg_fn=self._blend, use_buffers=False)
        self.progress: Progress = self.objective.start(self.system, self._rng("start"))
        self.step = 0

    def run(self, on_log: Callable[[int, Mapping[str, float]], None] | None = None) -> Pipeline:
        """Train to the last step and save the averaged weights as a pipeline in ``folder/pipeline``.

        Raises ``Diverged`` for a loss that is not finite and ``Interrupted`` after Ctrl-C or SIGTERM.
        """
        settings, checkpoints = self.experiment.train, self.folder / "checkpoints"
        if (last := checkpoint.latest(checkpoints)) is not None:
            self._restore(last)
        self.folder.mkdir(parents=True, exist_ok=True)
        sums: dict[str, Tensor] = {}
        began, count = time.perf_counter(), 0
        with _stop_requests() as stopped:
            while self.step < settings.steps:
                for name, value in self._one_step().items():
                    sums[name] = sums.get(name, 0) + value
                count += 1
                whole = self.step == settings.steps
                if count == settings.log_every or whole or stopped() or self.step % settings.save_every == 0:
                    logs = {name: float(v) / count for name, v in sums.items()}
                    self._ensure_finite(logs)
                    logs["samples_per_second"] = count * settings.batch / (time.perf_counter() - began)
                    self._log(logs, on_log)
                    sums, count, began = {}, 0, time.perf_counter()
                if self.step % settings.save_every == 0 or whole or stopped():
                    self._save(checkpoints)
                if stopped() and not whole:
                    raise Interrupted(f"stopped at step {self.step}; the same command goes on from there")
        return self._finish()

    def _one_step(self) -> dict[str, Tensor]:
        settings = self.experiment.train
        logs: dict[str, Tensor] = {}
        first = self.accelerator.process_index * self.share
        for name, player in self.players.items():
            if self.step % player.every:
                continue
            for turn in range(player.repeats):
                rng = self._rng("train", self.step, name, turn)
                batch = self._batch(turn, name, rng.at("data")) if self.objective.uses_data else None
                with _seeded(self.experiment.seed, self.step, name, turn, first), self.accelerator.autocast():
                    loss = self.objective.loss(name, batch, self.system, self.progress, rng)
                value = loss.per_sample.mean()
                optimizer = self.optimizers[name]
                optimizer.zero_grad(set_to_none=True)
                self.accelerator.backward(value)
                norm = self._gradients(player, settings)
                for group in optimizer.param_groups:
                    group["lr"] = self._rate(self.step) * player.learning_rate_scale
                optimizer.step()
                logs |= {f"{name}/loss": value.detach(), f"{name}/gradient": norm}
                logs |= {f"{name}/{k}": v for k, v in loss.logs.items()}
        self.step += 1
        self.average.update_parameters(self._together())
        self.progress = self.objective.after(self.progress, self.step, self.system, self._rng("after", self.step))
        return logs

    def _rng(self, *path: int | str) -> Rng:
        """One stream for each of this process's samples: the same noise however many processes share the batch."""
        first = self.accelerator.process_index * self.share
        return Rng.of(self.experiment.seed, self.share, device=self.accelerator.device, start=first).at(*path)

    def _together(self) -> nn.ModuleDict:
        return nn.ModuleDict({path.replace(".", "/"): m for path, m in self.system.modules().items()})

    def _batch(self, turn: int, player: str, rng: Rng) -> Batch:
        """Rows by (seed, position) in endless shuffled epochs, so a resumed run sees the same ones."""
        data, system, size = self.experiment.data, self.system, self.experiment.train.batch
        rows = len(data)
        first = self.accelerator.process_index * self.share
        draws = [(n, t) for n, p in self.players.items() for t in range(p.repeats)]
        place = (self.step * len(draws) + draws.index((player, turn))) * size + first
        position = torch.arange(place, place + self.share)
        index = torch.empty(self.share, dtype=torch.long)
        for epoch in sorted(set((position // rows).tolist())):
            here = position // rows == epoch
            order = torch.randperm(rows, generator=torch.Generator().manual_seed(_mix(self.experiment.seed, epoch)))
            index[here] = order[position[here] % rows]
        example = data.rows(index, rng)
        x, end = system.codec.encode(example.x), example.end
        system.space.check(x)
        system.model.check(example.cond)

        def send(v: State) -> State:
            return tree_map(lambda leaf: leaf.to(self.accelerator.device), v)

        end = None if end is None else send(system.codec.encode(end))
        cond = example.cond.to(self.accelerator.device)
        return Batch(x=send(x), cond=cond, index=index.to(self.accelerator.device), end=end)

    def _gradients(self, player: Player, settings: Settings) -> Tensor:
        """Average over processes, then clip. Works for any number of forward passes in a loss."""
        parameters = [p for m in player.modules for p in m.parameters() if p.requires_grad]
        if self.accelerator.num_processes > 1:
            for p in parameters:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
            flat = torch.cat([cast(Tensor, p.grad).flatten() for p in parameters])
            flat = cast(Tensor, self.accelerator.reduce(flat, "mean"))
            for p, g in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
                cast(Tensor, p.grad).copy_(g.view_as(p))
        norm = self.accelerator.clip_grad_norm_(parameters, settings.clip)
        return torch.as_tensor(0.0 if norm is None else norm).detach()

    def _optimizer(self, player: Player, settings: Settings) -> Optimizer:
        parameters = [p for m in player.modules for p in m.parameters() if p.requires_grad]
        if not parameters:
            raise InvalidInput("a player has no parameters to train")
        made = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
        )
        return cast(Optimizer, self.accelerator.prepare_optimizer(made))

    def _rate(self, step: int) -> float:
        s = self.experiment.train
        warm = min(1.0, (step + 1) / s.warmup) if s.warmup else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * step / s.steps)) if s.decay == "cosine" else 1.0
        return s.learning_rate * warm * cosine

    def _blend(self, averaged: Any, current: Any, number: Any) -> None:  # noqa: ANN401 - torch's own signature
        decay = min(self.experiment.train.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(averaged, current, 1 - decay)

    def _ensure_finite(self, logs: Mapping[str, float]) -> None:
        bad = [name for name, value in logs.items() if not math.isfinite(value)]
        if bad:
            raise Diverged(
                f"{bad[0]} is not finite by step {self.step}: lower the learning rate or look at the data; "
                f"the last checkpoint is from before"
            )

    def _log(self, logs: Mapping[str, float], on_log: Callable[[int, Mapping[str, float]], None] | None) -> None:
        if self.accelerator.is_main_process:
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
            "settings": attrs.asdict(self.experiment.train),
        }

    def _save(self, folder: Path) -> None:
        if self.accelerator.is_main_process:
            checkpoint.write(folder, self.step, self._state(), self.experiment.train.keep)
        self.accelerator.wait_for_everyone()

    def _restore(self, path: Path) -> None:
        step, state = checkpoint.read(path)
        if step > self.experiment.train.steps:
            raise InvalidInput(f"{path} is at step {step}, past steps={self.experiment.train.steps}")
        try:
            for name, module in self.modules.items():
                module.load_state_dict(state["modules"][name])
            self.average.load_state_dict(state["average"])
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InvalidInput(f"{path} is of another experiment: choose another folder ({reason})") from error
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress, self.step = state["progress"], step

    def _finish(self) -> Pipeline:
        averaged = dict(cast(nn.ModuleDict, self.average.module).items())
        for name, module in self.system.modules().items():
            module.load_state_dict(averaged[name.replace(".", "/")].state_dict())
            module.requires_grad_(False).eval()
        pipeline = Pipeline(system=self.system, card=self.experiment.card)
        if self.accelerator.is_main_process:
            pipeline.save(self.folder / "pipeline")
        self.accelerator.wait_for_everyone()
        return pipeline


def _mix(*parts: int | str) -> int:
    """63 bits that name a place in a run."""
    import hashlib

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
