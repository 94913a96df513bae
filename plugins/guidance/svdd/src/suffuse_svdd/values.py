"""Values of noisy states: what reward a state will come to."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import Part, module, setting
from suffuse.contracts.process import Discrete, as_time
from suffuse.contracts.reward import Reward
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System

__all__ = ["Learned", "PosteriorMean", "Value", "predicted_data"]


class Value(Part):
    """An estimate of the soft value ``v(x_s) = alpha log E[exp(r(x_0)/alpha) | x_s]`` under the unguided sampler."""

    kind = "value"

    @abstractmethod
    def value(self, system: System, x: State, s: Tensor, cond: Condition, rng: Rng) -> tuple[Tensor, int]:
        """Each row's value at time s, ``(B,)``, and the denoiser's evaluations that it took."""


@attrs.frozen(kw_only=True)
class PosteriorMean(Value):
    """``v(x_s) = r(x_0(x_s))``, the reward of the data that the denoiser predicts: nothing is trained (SVDD-PM).

    Of tokens the prediction is the likeliest symbol at each position that is masked; those that are seen are kept.
    Li et al., 2024, arXiv:2408.08252. One evaluation a candidate.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mean|draw|logits"})

    reward: Reward = setting(doc="what is raised; it needs no gradient")

    def value(self, system: System, x: State, s: Tensor, cond: Condition, rng: Rng) -> tuple[Tensor, int]:
        """The reward sees decoded data."""
        x0, nfe = predicted_data(system, x, s, cond, rng)
        return self.reward.value(system.codec.decode(x0), cond), nfe


def predicted_data(system: System, x: State, s: Tensor, cond: Condition, rng: Rng) -> tuple[State, int]:
    """The data that the system's denoiser predicts at x, as a state, and its evaluations."""
    prediction, process = system.denoise(x, s, cond, rng=rng), system.process
    if not isinstance(process, Discrete):
        return prediction.x0, prediction.nfe
    likeliest = prediction.logits.argmax(-1)
    if "masked" not in process.gives:
        return likeliest, prediction.nfe
    assert isinstance(x, Tensor)
    return torch.where(x < process.symbols, x, likeliest), prediction.nfe


@module
class Learned(nn.Module, Value):
    """``v(x_s) = shift + scale mean(backbone(x_s, time_scale s))``, trained by ``svdd/value-regression`` (SVDD-MC).

    Any backbone that takes the states: its output's mean is a linear reading of pooled features. ``shift`` and
    ``scale`` are best the mean and the spread of rewards, which a network then need not learn. No evaluation of the
    denoiser. Raises ``Unsupported`` for states of several leaves and for more than one time a row.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"learned-value"})

    backbone: Backbone = setting(doc="(x_s, c_noise, cond) to any tensor")
    time_scale: float = setting(1000.0, "c_noise of time 1: 1000 for networks told of 1000 steps", gt=0)
    shift: float = setting(0.0, "added to the network's mean output")
    scale: float = setting(1.0, "multiplies it", gt=0)

    def value(self, system: System, x: State, s: Tensor, cond: Condition, rng: Rng) -> tuple[Tensor, int]:
        """The network's."""
        return self(x, s, cond), 0

    def forward(self, x: State, s: Tensor, cond: Condition) -> Tensor:
        """``(B,)``, in at least float32, differentiable in the weights."""
        if not isinstance(x, Tensor) or s.ndim > 1:
            raise Unsupported("a learned value takes states of one tensor and one time a row")
        weight = next(self.backbone.parameters())
        c_noise = (as_time(s) * self.time_scale).to(x.device, torch.promote_types(weight.dtype, torch.float32))
        out: Tensor = self.backbone(x.to(weight) if x.is_floating_point() else x, c_noise.expand(len(x)), cond)
        return self.shift + self.scale * out.flatten(1).to(c_noise.dtype).mean(1)
