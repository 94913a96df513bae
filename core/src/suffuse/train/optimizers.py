"""Players' optimisers: made once, told their learning rate and decay rates at every step."""

from __future__ import annotations

from torch.nn import Parameter
from torch.optim import AdamW, Optimizer, RMSprop

from suffuse.contracts.objective import Player
from suffuse.errors import InvalidInput

__all__ = ["make_optimizer", "parameters_of", "prepare"]


def parameters_of(player: Player) -> list[Parameter]:
    """The player's trained parameters, each once."""
    return list(dict.fromkeys(p for m in player.modules for p in m.parameters() if p.requires_grad))


def make_optimizer(name: str, player: Player, betas: tuple[float, float], weight_decay: float) -> Optimizer:
    """The optimiser of a player; ``prepare`` gives it its learning rate.

    Raises ``InvalidInput`` for a player without parameters, an unknown optimiser, or settings that it does not have.
    """
    parameters = parameters_of(player)
    if not parameters:
        raise InvalidInput(f"{name} has no parameters to train")
    if player.optimizer == "adam":
        return AdamW(parameters, betas=betas, weight_decay=weight_decay)
    if player.optimizer != "rmsprop":
        raise InvalidInput(f"{name}: expected the optimizer adam or rmsprop, got {player.optimizer!r}")
    if weight_decay or player.betas is not None:
        raise InvalidInput(f"{name}: rmsprop takes no weight_decay and no betas, got {weight_decay}, {player.betas}")
    return RMSprop(parameters)


def prepare(optimizer: Optimizer, player: Player, step: int, learning_rate: float) -> None:
    """Set what the next update of this step uses; ``learning_rate`` is the run's own at this step."""
    scale, betas = player.learning_rate_scale, player.betas
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * (scale(step) if callable(scale) else scale)
        if betas is not None:
            group["betas"] = betas(step) if callable(betas) else betas
