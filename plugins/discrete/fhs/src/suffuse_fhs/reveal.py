"""The law of revealing some of the masked tokens, whichever they are."""

from __future__ import annotations

import math

import attrs
import torch
from torch import Tensor

from suffuse.contracts.law import Law
from suffuse.rng import Rng
from suffuse.state import State

__all__ = ["Reveal"]


@attrs.frozen(eq=False)
class Reveal(Law):
    """``count`` of the tokens that equal ``mask``, any set of them alike, become draws from their own logits.

    Symbols are drawn at the chosen positions alone, not at all of them: that is where the time goes with a large
    alphabet. ``most`` bounds the counts.
    """

    x_t: Tensor  # (B, *event)
    logits: Tensor  # (B, *event, K)
    mask: int
    count: Tensor  # (B,)
    most: int

    def sample(self, rng: Rng) -> Tensor:
        """Streams ``where`` and ``symbol``."""
        x = self.x_t.flatten(1)
        u = rng.at("where").uniform(torch.empty(x.shape, dtype=torch.float64, device=x.device))
        at = torch.where(x == self.mask, u, 2.0).argsort(dim=1)[:, : self.most]
        logits = self.logits.flatten(1, -2)
        chosen = logits.gather(1, at[..., None].expand(*at.shape, logits.shape[-1]))
        drawn = rng.at("symbol").categorical(chosen)
        inside = torch.arange(at.shape[1], device=x.device) < self.count[:, None]
        return x.scatter(1, at, torch.where(inside, drawn, x.gather(1, at))).view_as(self.x_t)

    def log_prob(self, x: State) -> Tensor:
        """``sum log mu - log C(n, count)`` for n masks; -inf for what cannot come of x_t."""
        assert isinstance(x, Tensor)
        before, after = self.x_t.flatten(1), x.flatten(1)
        hidden, shown = before == self.mask, after != self.mask
        told = hidden & shown
        fits = (told.sum(1) == self.count) & (hidden | (before == after)).all(1)
        logs = self.logits.flatten(1, -2).log_softmax(-1)
        chances = logs.gather(-1, after.clamp_max(logs.shape[-1] - 1)[..., None])[..., 0]
        n, g = hidden.sum(1).double(), self.count.double()
        ways = torch.lgamma(n + 1) - torch.lgamma(g + 1) - torch.lgamma(n - g + 1)
        return torch.where(fits, torch.where(told, chances, 0.0).sum(1) - ways, -math.inf)
