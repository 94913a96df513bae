"""What adversarial objectives share: two players, a batch of fakes, a critic that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Generator
from suffuse.contracts.network import Critic
from suffuse.contracts.objective import Batch, Player
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["duel", "frozen", "generate", "real"]


def duel(
    system: System,
    critic: Critic,
    *,
    repeats: int | Callable[[int], int] = 1,
    **rule: Any,  # noqa: ANN401
) -> Mapping[str, Player]:
    """The players ``critic``, with ``repeats`` turns, and then ``generator``; ``rule`` says how both are optimised.

    Raises ``IncompatibleComponents`` for a generator with labels and a critic without: nothing would teach them.
    """
    if "conditional" in system.model.gives and "conditional" not in critic.gives:
        raise IncompatibleComponents(
            f"the generator takes labels and the critic {type(critic).__name__} none: give it as many classes"
        )
    return {
        "critic": Player(modules=(critic,), repeats=repeats, **rule),
        "generator": Player(modules=(system.model,), **rule),
    }


def real(batch: Batch | None) -> tuple[Tensor, Condition]:
    """The batch's data and conditions. Raises ``InvalidInput`` without any."""
    if batch is None or not isinstance(batch.x, Tensor):
        raise InvalidInput("an adversarial objective learns from batches of one tensor, got none")
    return batch.x, batch.cond


def generate(system: System, cond: Condition, rng: Rng, like: Tensor) -> Tensor:
    """One sample for each stream of rng, in the dtype and on the device of ``like``: the draws of ``System.sample``."""
    model = system.model
    if not isinstance(model, Generator):
        raise Unsupported(f"an adversarial objective needs a generator, got {type(model).__name__}")
    z = model.latent.law(rng.size, dtype=like.dtype, device=like.device).sample(rng.at("latent"))
    x = model(z, cond, rng=rng.at("model"))
    if not isinstance(x, Tensor):
        raise Unsupported("an adversarial objective needs a generator of one tensor")
    return x


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, what the network computes has gradients in its input but not in its weights, which saves a third."""
    trained = [p for p in network.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)
