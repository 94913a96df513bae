"""Linear classifiers on frozen features, and the search for the block and the noise level that serve them best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_ddae.data import labelled
from suffuse_ddae.features import features, known

__all__ = ["Probe", "head"]

Key = tuple[str, float]


def _times(times: tuple[float, ...]) -> str | None:
    good = times and all(0 <= t <= 1 for t in times) and len(set(times)) == len(times)
    return None if good else f"expected different times in [0, 1], got {times!r}"


def head(width: int, classes: int, name: str, rng: Rng, device: torch.device) -> list[Tensor]:
    """Weight ``(classes, width)`` and bias, uniform within ``1/sqrt(width)`` as torch's, a function of the name."""
    row = rng.pool().at("head", name)
    shapes = {"weight": (classes, width), "bias": (classes,)}
    drawn = [row.at(k).uniform(torch.empty(1, *shape, device=rng.device))[0] for k, shape in shapes.items()]
    return [((2 * u - 1) / width**0.5).to(device).requires_grad_() for u in drawn]


@attrs.frozen(kw_only=True)
class Probe(Task):
    """One linear head for every block and time, all trained together on the same noisy inputs; the best is reported.

    Xiang et al., Denoising Diffusion Autoencoders are Unified Self-supervised Learners, 2023, arXiv:2303.09769,
    section 3 and the released code: pooled activations without normalisation, cross-entropy, Adam with a cosine
    schedule over epochs. Heads do not interact. Their grid is t in {1, 11, 21} of 1000 steps over all blocks. The best
    is chosen on rows held out of the train set, not on the test set as there. The network is frozen and its condition
    empty.

    No inputs. Tables: ``grid``, each block and t with its accuracies ``held`` and ``test``, and ``chosen``, the best of
    them. Metrics: ``accuracy`` of the chosen on the test set, and its ``t``. States: its ``weight`` and ``bias``.
    """

    train: Dataset = setting(doc="data with labels that the heads are trained on")
    test: Dataset = setting(doc="data with labels that they are judged on")
    blocks: tuple[str, ...] = setting((), "of the backbone, input, or x0; all of the backbone's if none is named")
    times: tuple[float, ...] = setting((0.001, 0.011, 0.021), "noise levels, in the process's time", check=_times)
    samples: int = setting(1, "noises that a feature is averaged over", ge=1)
    draws: int = setting(15, "noisy versions of the train set; epochs take turns", ge=1)
    epochs: int = setting(15, "passes over the train set", ge=1)
    batch: int = setting(128, "rows in a step", ge=1)
    learning_rate: float = setting(1e-3, "of Adam, to begin with", gt=0)
    held: float = setting(0.1, "share of the train rows that choose among several heads", ge=0, lt=1)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for inputs, unknown blocks, or nothing held out to choose by."""
        if inputs:
            raise InvalidInput(f"ddae/probe takes no inputs, got {', '.join(sorted(inputs))}")
        keys = [(block, t) for t in self.times for block in known(system, self.blocks)]
        order = rng.pool().at("held").permutation(len(self.train))[0]
        apart = round(self.held * len(order)) if len(keys) > 1 else 0
        if len(keys) > 1 and apart == 0:
            raise InvalidInput(f"no rows of {len(order)} are held out to choose among {len(keys)} heads: raise held")
        heads = self.fitted(system, order[apart:], keys, rng)
        sets = {"test": (self.test, torch.arange(len(self.test)))} | (
            {"held": (self.train, order[:apart])} if apart else {}
        )
        accuracy: dict[str, dict[Key, float]] = {}
        for name, (data, index) in sets.items():
            found, label = self._read(system, data, index, keys, rng.at(name))
            accuracy[name] = {
                k: float((F.linear(found[k], *heads[k]).argmax(1) == label).double().mean()) for k in keys
            }
        grid = [{"block": k[0], "t": k[1], **{name: accuracy[name][k] for name in accuracy}} for k in keys]
        best = max(keys, key=lambda k: accuracy.get("held", {}).get(k, 0.0))
        chosen = grid[keys.index(best)]
        weight, bias = (v.detach() for v in heads[best])
        return Result(
            metrics={"accuracy": float(accuracy["test"][best]), "t": best[1]},
            tables={"grid": grid, "chosen": [chosen]},
            states={"weight": weight, "bias": bias},
        )

    def fitted(self, system: System, rows: Tensor, keys: list[Key], rng: Rng) -> dict[Key, list[Tensor]]:
        """Heads ``(weight, bias)`` of these blocks and times, trained on these rows, each by its own loss."""
        heads: dict[Key, list[Tensor]] = {}
        seen: dict[int, tuple[dict[Key, Tensor], Tensor]] = {}
        optimizer, schedule = None, None
        classes = int(labelled(system, self.train, rows, rng)[1].max()) + 1
        for epoch in range(self.epochs):
            draw = epoch % self.draws
            now = seen.get(draw) or self._read(system, self.train, rows, keys, rng.at("draw", draw))
            if self.draws < self.epochs:
                seen[draw] = now
            found, label = now
            if optimizer is None or schedule is None:
                heads = {k: head(found[k].shape[1], classes, f"{k[0]} {k[1]!r}", rng, label.device) for k in keys}
                optimizer = torch.optim.Adam([p for pair in heads.values() for p in pair], lr=self.learning_rate)
                schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
            for at in rng.pool().at("order", epoch).permutation(len(rows))[0].to(label.device).split(self.batch):
                optimizer.zero_grad(set_to_none=True)
                with torch.enable_grad():
                    losses = [F.cross_entropy(F.linear(found[k][at], *heads[k]), label[at]) for k in keys]
                    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            schedule.step()
        return heads

    def _read(
        self, system: System, data: Dataset, index: Tensor, keys: list[Key], rng: Rng
    ) -> tuple[dict[Key, Tensor], Tensor]:
        """Every head's features of these rows, float32, and labels."""
        x0, label = labelled(system, data, index, rng)
        blocks, streams = tuple(dict.fromkeys(b for b, _ in keys)), rng.pool().repeat(len(data)).index(index)
        found: dict[Key, list[Tensor]] = {k: [] for k in keys}
        with torch.no_grad():
            for at in torch.arange(len(index)).split(self.batch):
                for t in self.times:
                    noise = streams.index(at).at("t", repr(t))
                    h = features(system, x0[at.to(x0.device)], t, blocks, noise, samples=self.samples)
                    for block in blocks:
                        found[block, t].append(h[block].float())
        return {k: torch.cat(v) for k, v in found.items()}, label
