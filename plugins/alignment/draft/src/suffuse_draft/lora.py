"""Low-rank adapters."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, cast

import attrs
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.network import Adapter
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Process
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State

__all__ = ["Adapted", "Lora", "LowRank"]


class LowRank(nn.Module):
    """``W + scale B A`` for a weight ``W``, its dimensions after the first taken as one; B is zero at first."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, inner = weight.shape[0], weight[0].numel()
        self.down = nn.Parameter(torch.empty(rank, inner, dtype=weight.dtype, device=weight.device))
        self.up = nn.Parameter(torch.zeros(out, rank, dtype=weight.dtype, device=weight.device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor, scale: float = 1.0) -> Tensor:
        """The adapted weight."""
        return weight + scale * (self.up @ self.down).view_as(weight)


@attrs.frozen(kw_only=True)
class Lora(Adapter):
    """A low-rank update of the weights of linear and convolutional layers.

    Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, arXiv:2106.09685, with their alpha equal to the
    rank. ``only`` is a regular expression searched for in the layers' names, such as ``qkv|out`` for attention.
    """

    rank: int = setting(8, "rank of the update", ge=1)
    only: str = setting("", "which layers, by a regular expression in their names; all by default")

    def layers(self, network: nn.Module) -> dict[str, nn.Module]:
        """The layers that are adapted, by name. Raises ``InvalidInput`` if there are none."""
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        found = {n: m for n, m in network.named_modules() if isinstance(m, kinds) and re.search(self.only, n)}
        if not found:
            name = type(network).__name__
            raise InvalidInput(f"no linear or convolutional layer of {name} has {self.only!r} in its name")
        return found

    def updates(self, network: nn.Module) -> dict[str, LowRank]:
        """New updates of these layers, by name."""
        return {name: LowRank(cast(Tensor, m.weight), self.rank) for name, m in self.layers(network).items()}

    @contextmanager
    def attach(self, network: nn.Module) -> Iterator[Mapping[str, nn.Parameter]]:
        """New updates act inside; outside, the network is what it was."""
        layers, updates = self.layers(network), self.updates(network)
        for name, update in updates.items():
            register_parametrization(layers[name], "weight", update)
        try:
            yield {f"{name}.{k}": p for name, update in updates.items() for k, p in update.named_parameters()}
        finally:
            for name in updates:
                remove_parametrizations(layers[name], "weight", leave_parametrized=False)


@module
class Adapted(Denoiser):
    """A denoiser with a low-rank update of its own: only the update trains, whatever objective trains it.

    The denoiser's own weights are frozen and never written. ``delta.state_dict()`` is the update alone, to be kept
    apart from them. At ``scale`` 0 it is the denoiser itself, bit for bit; in between it interpolates, above 1 it goes
    on (Clark et al., 2023, arXiv:2309.17400).
    """

    provides: ClassVar[frozenset[str]] = frozenset({"conditional", "mean"})

    model: Denoiser = setting(doc="the denoiser; it is frozen")
    lora: Lora = setting(factory=Lora, doc="which layers, and at what rank")
    scale: float = setting(1.0, "how much of the update acts", gt=float("-inf"), lt=float("inf"))

    def __attrs_post_init__(self) -> None:
        self.model.requires_grad_(False)
        self.delta = nn.ModuleDict({_key(name): low for name, low in self.lora.updates(self.model).items()})

    @property
    def gives(self) -> frozenset[str]:
        """What the denoiser gives."""
        return self.model.gives & type(self).provides

    @property
    def trained(self) -> Process | None:
        """The denoiser's own process, where it has one."""
        return getattr(self.model, "trained", None)

    @property
    def shape(self) -> tuple[int, ...]:
        """One state's shape, where the denoiser's backbone says it."""
        return tuple(getattr(getattr(self.model, "backbone", None), "shape", ()))

    def requires_grad_(self, requires_grad: bool = True) -> Adapted:
        """Of the update alone."""
        self.delta.requires_grad_(requires_grad)
        return self

    def scaled(self, scale: float) -> Adapted:
        """The same weights with another scale; nothing is copied."""
        other = copy.copy(self)
        other.scale = scale
        return other

    def check(self, cond: Condition) -> None:
        """The denoiser's check."""
        self.model.check(cond)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Prediction:
        """The denoiser's answer with the updated weights."""
        given = {"process": process, "s": s, "rng": rng}
        if self.scale == 0:
            found: Prediction = self.model(x_t, t, cond, **given)
            return found
        weights = {}
        for name in self.lora.layers(self.model):
            weight = self.model.get_parameter(f"{name}.weight")
            weights[f"{name}.weight"] = self.delta[_key(name)](weight, self.scale)
        adapted: Prediction = torch.func.functional_call(self.model, weights, (x_t, t, cond), given)
        return adapted


def _key(name: str) -> str:
    return name.replace(".", "/")  # a module's children have no dots in their names
