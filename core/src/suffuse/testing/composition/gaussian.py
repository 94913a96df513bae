"""The exact world of Gaussian processes: three labelled components in the plane, read through a parameterization."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Parameterization
from suffuse.contracts.network import Backbone, check_labels
from suffuse.contracts.part import module, setting
from suffuse.contracts.process import Gaussian
from suffuse.contracts.space import Euclidean
from suffuse.preconditioned import Preconditioned
from suffuse.state import combine
from suffuse.testing.exact import ExactDenoiser
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import three

__all__ = ["MIXTURE", "SPACE", "exact_model", "labels", "truth"]

MIXTURE = three()
SPACE = Euclidean(shape=(2,))


@module
class ExactNetwork(Backbone):
    """What a network trained to perfection says: it sees ``(c_in x_t, c_noise)`` only, and finds the time from them."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    parameterization: Parameterization = setting(doc="what the output means")
    trained: Gaussian = setting(doc="the process it knows")

    def __attrs_post_init__(self) -> None:
        self.blocks = nn.ModuleDict()
        self.exact = ExactDenoiser(mixture=MIXTURE)
        self.kind_of_weights = nn.Parameter(torch.zeros((), dtype=torch.float64), requires_grad=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """One state's shape."""
        return SPACE.shape

    def check(self, cond: Condition) -> None:
        """Labels of the mixture."""
        check_labels(cond, 3)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """``a x_0 + b eps`` of the exact conditional mean."""
        t = self._time(c_noise)
        x_t = combine(1 / torch.as_tensor(self.parameterization.scaling(self.trained, t).c_in), x, 0.0, x)
        exact = self.exact(x_t, t, cond, process=self.trained)
        a, b = self.parameterization.mix(self.trained, t)
        mixed = combine(a, exact.x0, b, exact.eps)
        assert isinstance(mixed, Tensor)
        return mixed

    def _time(self, c_noise: Tensor) -> Tensor:
        """By bisection: ``c_noise`` is monotonic in t."""

        def told(t: Tensor) -> Tensor:
            return self.parameterization.scaling(self.trained, t).c_noise

        goal, row = torch.unique(c_noise.double(), return_inverse=True)
        low, high = torch.zeros_like(goal), torch.ones_like(goal)
        ends = torch.tensor([1e-3, 1.0], dtype=torch.float64)
        sign = torch.sign(told(ends[1]) - told(ends[0]))
        for _ in range(60):
            middle = (low + high) / 2
            late = sign * (told(middle) - goal) > 0
            low, high = torch.where(late, low, middle), torch.where(late, middle, high)
        return ((low + high) / 2)[row]


def exact_model(process: Gaussian, parameterization: Parameterization) -> Preconditioned:
    """The exact network of this process behind the wrapper that trained networks stand behind."""
    network = ExactNetwork(parameterization=parameterization, trained=process)
    return Preconditioned(backbone=network, parameterization=parameterization, trained=process)


def labels(n: int) -> Tensor:
    """Every class alike."""
    return torch.arange(n) % 3


def truth(n: int, generator: torch.Generator, *, conditional: bool) -> Tensor:
    """Draws from the mixture, or from the class of each row's label."""
    if not conditional:
        return MIXTURE.sample(generator, n)
    drawn = torch.empty(n, 2, dtype=torch.float64)
    for label in range(3):
        here: GaussianMixture = MIXTURE.conditioned(label)
        at = labels(n) == label
        drawn[at] = here.sample(generator, int(at.sum()))
    return drawn
