"""Transductive node classification."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import attrs
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from suffuse.contracts.part import setting
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, tree_map
from suffuse.system import System
from suffuse_grand.classifier import NodeClassifier

__all__ = ["NodeClassification", "learn"]


def learn(
    network: NodeClassifier,
    graph: State,
    label: Tensor,
    train: Tensor,
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float,
    optimizer: Literal["adam", "adamax", "rmsprop"],
) -> None:
    """Minimise the cross-entropy on the nodes of ``train`` ``(B, N)``, all graphs at once, in place."""
    made = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax, "rmsprop": torch.optim.RMSprop}[optimizer]
    steps = made(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    network.train()
    for _ in range(epochs):
        steps.zero_grad()
        cross_entropy(network(graph)[train], label[train]).backward()  # type: ignore[no-untyped-call]
        steps.step()
    network.eval()


@attrs.frozen(kw_only=True, eq=False)
class NodeClassification(Task):
    """Train a network on some nodes' labels, with all edges and features in sight, and classify the others.

    No system takes part: the network is the task's own, and each run trains a copy of it. Inputs: ``graph``, a state
    of ``graph-sets/graphs``; ``label`` ``(B, N)``, integers; ``train`` ``(B, N)``, true where a label may be seen.
    Metrics: ``accuracy`` over the other present nodes, ``train_accuracy``; states: ``logits`` ``(B, N, classes)``.
    """

    network: NodeClassifier = setting(doc="what is trained")
    epochs: int = setting(100, "passes over the graph", ge=0)
    learning_rate: float = setting(0.01, "of the optimiser", gt=0)
    weight_decay: float = setting(5e-4, "of the optimiser", ge=0)
    optimizer: Literal["adam", "adamax", "rmsprop"] = setting(
        "adam", "the optimiser", choices=("adam", "adamax", "rmsprop")
    )

    def run(self, system: System | None, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs. Dropout is seeded by ``rng``."""
        if set(inputs) != {"graph", "label", "train"}:
            raise InvalidInput(f"expected the inputs graph, label and train, got {sorted(inputs)}")
        network = copy.deepcopy(self.network).requires_grad_()
        home = next(network.parameters())
        graph = tree_map(lambda v: v.to(home), inputs["graph"])
        label, train = (torch.as_tensor(inputs[k]).to(home.device) for k in ("label", "train"))
        assert not isinstance(graph, Tensor)
        there = graph["mask"] != 0
        if label.shape != there.shape or train.shape != there.shape or train.dtype != torch.bool:
            told = f"{tuple(label.shape)} and {train.dtype} {tuple(train.shape)}"
            raise InvalidInput(f"expected label and a bool train of shape {tuple(there.shape)}, got {told}")
        seen, hidden = train & there, ~train & there
        if not bool(seen.any()) or not bool(hidden.any()):
            raise InvalidInput("expected nodes to train on and others to classify")
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(rng.seed())
            learn(
                network,
                graph,
                label,
                seen,
                epochs=self.epochs,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                optimizer=self.optimizer,
            )
        with torch.no_grad():
            logits = network(graph)
        right = logits.argmax(-1) == label
        metrics = {
            "accuracy": float(right[hidden].double().mean()),
            "train_accuracy": float(right[seen].double().mean()),
        }
        return Result(metrics=metrics, states={"logits": logits})
