"""What optimises an input, not a network: parameters, an objective, a projection, and a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.state import State, leaves, size, tree_map

__all__ = ["Descent", "Pull"]

# The loss of each row, ``(B,)``, from the parameters, the step's number and its rng.
Pull: TypeAlias = Callable[[State, int, Rng], Tensor]

_OPTIMIZERS = {"adamax": torch.optim.Adamax, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@attrs.frozen(kw_only=True)
class Descent:
    """A fixed number of gradient steps. Adamax at 0.05 for 10 000 steps is that of Wang et al. 2023, arXiv:2212.00774.

    All three optimisers work element by element, so rows are as independent as the objective makes them.
    """

    steps: int = setting(10_000, "gradient steps", ge=1)
    learning_rate: float = setting(0.05, "of all parameters that have no scale of their own", gt=0)
    optimizer: Literal["adamax", "adam", "sgd"] = setting(
        "adamax", "torch's, without weight decay", choices=tuple(_OPTIMIZERS)
    )
    betas: tuple[float, float] = setting((0.9, 0.999), "of adamax and adam")

    def run(
        self,
        start: State,
        pull: Pull,
        rng: Rng,
        *,
        scales: Mapping[str, float] | None = None,
        project: Callable[[State], State] | None = None,
    ) -> State:
        """Minimise ``sum_i pull(theta, step, rng)_i`` from ``start``, which is not changed.

        ``scales`` multiply the learning rates of leaves by name; ``project`` puts the parameters back where they must
        lie after each step. Step i has the stream ``(step, i)``. Raises ``InvalidInput`` for a loss that is not one
        number a row, or parameters that end as NaN or infinite.
        """
        theta = tree_map(lambda v: v.detach().clone().requires_grad_(), start)
        rate = {name: self.learning_rate * (scales or {}).get(name, 1.0) for name, _ in leaves(theta)}
        more = {} if self.optimizer == "sgd" else {"betas": self.betas}
        groups = [{"params": [v], "lr": rate[name]} for name, v in leaves(theta)]
        optimizer = _OPTIMIZERS[self.optimizer](groups, lr=self.learning_rate, **more)
        for i in range(self.steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.enable_grad():
                loss = pull(theta, i, rng.at("step", i))
                if loss.shape != (size(theta),):
                    raise InvalidInput(f"expected one loss for each of {size(theta)} rows, got {tuple(loss.shape)}")
                loss.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if project is not None:
                with torch.no_grad():
                    tree_map(lambda v, w: v.copy_(w), theta, project(theta))
        if odd := [name for name, v in leaves(theta) if not bool(v.isfinite().all())]:
            raise InvalidInput(f"the parameters {odd} are not finite after {self.steps} steps: lower the learning rate")
        return tree_map(torch.Tensor.detach, theta)
