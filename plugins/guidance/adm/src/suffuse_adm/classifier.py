"""Classifiers of noisy states: learned, and in closed form."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Logits
from suffuse.contracts.process import Gaussian, Process, as_time
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.state import State, expand, promote

__all__ = ["Classifier", "GaussianClasses"]


@module
class Classifier(Denoiser):
    """``p(y | x_t)`` by a network that is told the noise level: the logits of the label of x_0.

    The network's output is ``(B, classes)`` (``adm/half-unet``), or ``(B, classes, *size)``, of which the mean over
    places is taken. Its parameterization says how states and times are told to it; what its output means is not asked.
    Under another process than that of training states are rescaled to equal log-SNR, as for any ``Preconditioned``.
    A label in the condition is the answer: the network does not see it.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"logits"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    model: Preconditioned = setting(doc="the network, how it is told the noise level, and the process of training")

    @property
    def trained(self) -> Gaussian:
        """The process of training."""
        return self.model.trained

    def check(self, cond: Condition) -> None:
        """The network's check of what is no label."""
        self.model.check(cond.without({"label"}))

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Logits:
        """Logits ``(B, classes)``."""
        said = self.model(x_t, t, cond.without({"label"}), process=process, s=s, rng=rng)
        assert isinstance(said.value, Tensor)
        return Logits(
            value=said.value.flatten(2).mean(2) if said.value.ndim > 2 else said.value, x_t=said.x_t, t=said.t
        )


def _points(means: tuple[tuple[float, ...], ...]) -> str | None:
    good = len(means) >= 2 and len({len(m) for m in means}) == 1 and len(means[0]) > 0
    return None if good else f"expected at least two points of one dimension, got {means}"


@module
class GaussianClasses(Denoiser):
    """``p(y | x_t)`` for classes ``N(m_y, std^2 I)``, in closed form at every noise level.

    ``log p(y | x_t) = log w_y - |x_t - alpha m_y|^2/(2 (alpha^2 std^2 + sigma^2)) + const``: linear discriminant
    analysis of data, diffused. The exact classifier of such a mixture, and a guide towards prototypes without training.
    States of any shape are taken as vectors.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"logits"})
    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    means: tuple[tuple[float, ...], ...] = setting(doc="m_y, a vector for each class", check=_points)
    std: float = setting(1.0, "standard deviation within a class", gt=0)
    weights: tuple[float, ...] | None = setting(None, "class probabilities up to a factor; by default all equal")

    def __attrs_post_init__(self) -> None:
        weights = self.weights or (1.0,) * len(self.means)
        if len(weights) != len(self.means) or not min(weights) > 0:
            raise SpecError(f"weights must be {len(self.means)} positive numbers, got {self.weights}")
        self.register_buffer("points", torch.tensor(self.means, dtype=torch.float64))
        self.register_buffer("log_weights", torch.tensor(weights, dtype=torch.float64).log())

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Logits:
        """Logits ``(B, classes)``."""
        if not isinstance(process, Gaussian) or not isinstance(x_t, Tensor):
            raise Unsupported("Gaussian classes are known for a tensor state of a Gaussian process")
        x, points = promote(x_t).flatten(1), self.points.to(promote(x_t).dtype)
        if x.shape[1] != points.shape[1]:
            raise InvalidInput(f"the classes' means have {points.shape[1]} elements, got states of {x.shape[1]}")
        alpha, sigma = process.scalars(as_time(t))
        far = x[:, None] - expand(alpha, x[:, None]) * points
        spread = expand(2 * (alpha**2 * self.std**2 + sigma**2), x[:, :1])
        return Logits(value=self.log_weights.to(x.dtype) - far.square().sum(2) / spread, x_t=x_t, t=as_time(t))
