"""How steep a perceptron can be."""

from __future__ import annotations

import torch
from torch import nn

from suffuse_wgan.mlp import MlpCritic

__all__ = ["lipschitz_bound"]


def lipschitz_bound(critic: MlpCritic) -> float:
    """The product of the layers' operator norms; no slope is larger, since the rectifiers' are at most 1."""
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)]
    return float(torch.stack([torch.linalg.matrix_norm(w.weight.detach().double(), 2) for w in layers]).prod())
