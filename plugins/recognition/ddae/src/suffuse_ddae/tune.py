"""Fine-tuning: a classifier that begins as the part of a denoiser below a block."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_ddae.data import labelled
from suffuse_ddae.features import backbone_of, features, known
from suffuse_ddae.probe import head

__all__ = ["FineTune"]


@attrs.frozen(kw_only=True)
class FineTune(Task):
    """A linear head on one block at one noise level, trained together with everything below that block.

    Xiang et al. 2023, arXiv:2303.09769. Learning rates fall by ``decay`` with each block away from the one
    that is read, and once more for what stands in no block (the first layer, the embedding of the noise level). Each
    step has noise of its own. The system's weights are copied, not changed.

    No inputs. Metrics: ``accuracy`` on the test set. Table ``epochs``: the mean loss of each.
    """

    train: Dataset = setting(doc="data with labels")
    test: Dataset = setting(doc="data with labels that the classifier is judged on")
    block: str = setting(doc="of the backbone: the head's input")
    t: float = setting(0.011, "the noise level, in the process's time", ge=0, le=1)
    epochs: int = setting(15, "passes over the train set", ge=1)
    batch: int = setting(128, "rows in a step", ge=1)
    learning_rate: float = setting(
        1e-3, "of Adam for the head and the block, to begin with; a cosine over epochs", gt=0
    )
    decay: float = setting(0.75, "of the learning rate, from one block to the one below", gt=0, le=1)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for inputs, or a block that the backbone has not."""
        if inputs:
            raise InvalidInput(f"ddae/fine-tune takes no inputs, got {', '.join(sorted(inputs))}")
        known(system, (self.block,))
        tuned = attrs.evolve(system, model=deepcopy(system.model))
        model, backbone = cast(nn.Module, tuned.model), backbone_of(tuned)
        if backbone is None or self.block not in backbone.blocks:
            raise InvalidInput(f"fine-tuning needs a block of a backbone, got {self.block!r}")
        model.requires_grad_(True).train()
        rows = torch.arange(len(self.train))
        classes = int(labelled(tuned, self.train, rows, rng)[1].max()) + 1
        width = self._read(tuned, self.train, rows[:2], rng)[0].shape[1]
        pair = head(width, classes, self.block, rng, tuned.device)
        optimizer = torch.optim.Adam([{"params": pair}, *self._groups(model, backbone)], lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)
        told = []
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(rng.seed())  # dropout
            for epoch in range(self.epochs):
                losses = []
                for at in rng.pool().at("order", epoch).permutation(len(rows))[0].split(self.batch):
                    h, label = self._read(tuned, self.train, at, rng.at("epoch", epoch))
                    loss = F.cross_entropy(F.linear(h, *pair), label)
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    losses.append(loss.detach())
                schedule.step()
                told.append({"epoch": epoch + 1, "loss": float(torch.stack(losses).mean())})
        model.eval()
        right = []
        with torch.no_grad():
            for at in torch.arange(len(self.test)).split(self.batch):
                h, label = self._read(tuned, self.test, at, rng.at("test"))
                right.append(F.linear(h, *pair).argmax(1) == label)
        return Result(metrics={"accuracy": float(torch.cat(right).double().mean())}, tables={"epochs": told})

    def _read(self, system: System, data: Dataset, at: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        x0, label = labelled(system, data, at, rng)
        streams = rng.pool().repeat(len(data)).index(at)
        return features(system, x0, self.t, (self.block,), streams)[self.block], label

    def _groups(self, model: nn.Module, backbone: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """Blocks up to the one that is read, and all that is in none; what lies above gets no gradient."""
        names = list(backbone.blocks)
        below = names[: names.index(self.block) + 1]
        groups = [
            {
                "params": list(backbone.blocks[name].parameters()),
                "lr": self.learning_rate * self.decay ** (len(below) - 1 - i),
            }
            for i, name in enumerate(below)
        ]
        inside = {id(p) for p in backbone.blocks.parameters()}
        others = [p for p in model.parameters() if id(p) not in inside]
        return [*groups, {"params": others, "lr": self.learning_rate * self.decay ** len(below)}]
