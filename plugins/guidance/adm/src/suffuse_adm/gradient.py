"""The gradient that guides."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.prediction import Logits
from suffuse.contracts.process import Process
from suffuse.errors import InvalidInput, Unsupported
from suffuse.state import State

__all__ = ["log_prob_gradient", "of_label"]


def of_label(said: Logits, cond: Condition) -> Tensor:
    """``log p(y | x_t)`` of each row's label, ``(B,)``, 0 where it is absent. ``InvalidInput`` for wrong labels."""
    if "label" not in cond:
        raise InvalidInput("a classifier needs to know which class: give --cond label=3")
    logits, label = said.logits, cond["label"]
    if label.device.type == "cpu" and bool(((label < 0) | (label >= logits.shape[1])).any()):
        raise InvalidInput(f"expected label: integers (batch,) in [0, {logits.shape[1]}), got {label.tolist()}")
    # Copies: what was made in inference mode cannot be kept for a gradient.
    chosen = logits.log_softmax(1).gather(1, label.long().clone()[:, None])[:, 0]
    return torch.where(cond.present("label").clone(), chosen, 0.0)


def log_prob_gradient(classifier: Denoiser, x_t: State, t: Tensor, cond: Condition, process: Process) -> Tensor:
    """``grad log p(y | x_t)`` in x_t, row by row, whatever the caller's autograd mode.

    It can itself be differentiated where the caller tracks gradients of x_t.
    """
    if not isinstance(x_t, Tensor):
        raise Unsupported("classifier guidance takes states of one tensor")
    tracked = torch.is_grad_enabled() and x_t.requires_grad
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t if tracked else x_t.detach().clone().requires_grad_()
        said = classifier(x, t, cond, process=process)
        if not isinstance(said, Logits):
            raise Unsupported(f"classifier guidance needs a model that gives logits, got a '{said.name}'")
        (gradient,) = torch.autograd.grad(of_label(said, cond).sum(), x, create_graph=tracked)
    return gradient
