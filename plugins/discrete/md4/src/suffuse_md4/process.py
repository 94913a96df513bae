"""Masked processes: each token becomes the mask, K, at a random time and stays it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Categorical, Point
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Corruption, Discrete, Jump, as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State, expand, promote, require

__all__ = ["Masked"]


class Masked(Discrete, Jump):
    """``x_t = x_0`` with probability ``alpha_t``, else the mask K: the contract of every masked process.

    Shi et al., Simplified and Generalized Masked Diffusion for Discrete Data, 2024, arXiv:2406.04329, sections 2 and 6.
    ``alpha`` falls from about 1 to about 0 and may differ between symbols v; a subclass gives ``masked``, 1 - alpha, as
    that is what rates divide by. Going back from t to s a token that is
    seen stays; a masked one becomes v with probability ``(alpha_s(v) - alpha_t(v))/(1 - alpha_t(v)) x0_v`` and stays
    masked else. Everything is float64 in time.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"masked"})

    symbols: int

    @abstractmethod
    def masked(self, t: Tensor) -> Tensor:
        """``1 - alpha_t`` for float64 t: ``(*t.shape, 1)``, or ``(*t.shape, K)`` where symbols differ."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """``-d alpha/dt``, of the shape of ``masked``."""

    def alpha(self, t: Tensor) -> Tensor:
        """The chance that a token is still seen, of the shape of ``masked``."""
        return 1 - self.masked(t)

    @property
    def states(self) -> int:
        """K + 1."""
        return self.symbols + 1

    def time(self, masked: Tensor) -> Tensor:
        """The time at which ``1 - alpha`` has this value ``(..., 1)``, within [0, 1]: ``(...)``.

        ``Unsupported`` where symbols differ.
        """
        raise Unsupported(f"{type(self).__name__} has no one schedule to invert")

    def hazard(self, t: Tensor) -> Tensor:
        """``-alpha'/(1 - alpha)``, the rate at which a masked token is revealed going back.

        ``Unsupported`` where it is infinite: at t = 0 where nothing is masked.
        """
        rate = self.slope(t) / self.masked(t)
        require(rate.isfinite(), "the rate of revealing is infinite at this time: take t above 0")
        return rate

    def reveal(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """The chances that a token masked at t is seen at s <= t, and that it is not.

        ``(alpha_s - alpha_t)/(1 - alpha_t)`` and ``(1 - alpha_s)/(1 - alpha_t)``.
        """
        later, earlier = self.masked(t), self.masked(s)
        require(earlier <= later, "a posterior goes back in time: s must be at most t")
        later = later.clamp_min(torch.finfo(torch.float64).tiny)
        return (later - earlier) / later, earlier / later

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """Masks each token by itself; stream ``noise``."""
        x = tokens(x0)
        kept = self._kept(x, of_symbol(self.alpha(spread(t, x)), x), rng.at("noise"))
        return Corruption(kept, x, as_time(t))

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Point:
        """All masks."""
        return Point(torch.full_like(tokens(like), self.symbols))

    def marginal(self, x0: Tensor, t: Tensor) -> Categorical:
        """``alpha_t(v) x0_v`` at the symbols, the rest at the mask."""
        p = promote(x0)
        gone = self.masked(spread(t, p[..., 0]))
        return Categorical(_with_mask(p, 1 - gone, gone).log())

    def posterior(self, x_t: State, x0: State, t: Tensor, s: Tensor) -> Categorical:
        """One categorical over the K symbols and the mask for masked tokens, a point for the others."""
        x, p = tokens(x_t), promote(_probabilities(x0))
        chances = _with_mask(p, *self.reveal(spread(t, x), spread(s, x))).log()
        hidden = x == self.symbols
        logits = chances.masked_fill(~hidden[..., None], -torch.inf)
        stays = torch.where(hidden, chances[..., -1], 0.0)
        return Categorical(logits.scatter(-1, x[..., None], stays[..., None]))

    def renoise(self, x_s: State, s: Tensor, t: Tensor, *, rng: Rng) -> Tensor:
        """A token that is seen stays so with probability ``alpha_t/alpha_s``."""
        x = tokens(x_s)
        ratio = self.alpha(spread(t, x)) / self.alpha(spread(s, x))
        return self._kept(x, of_symbol(ratio, x), rng)

    def rates(self, x_t: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
        """``hazard(v) x0_v`` from the mask to v, nothing from elsewhere."""
        x, p = tokens(x_t), prediction.logits.softmax(-1)
        found = p * self.hazard(spread(t, x)).to(p)
        return torch.nn.functional.pad(found, (0, 1)) * (x == self.symbols)[..., None]

    def _kept(self, x: Tensor, chance: Tensor, rng: Rng) -> Tensor:
        u = rng.uniform(torch.empty(x.shape, dtype=torch.float64, device=x.device))
        return torch.where(u < chance, x, self.symbols)


def tokens(x: State) -> Tensor:
    """The state, checked to be one integer tensor."""
    if not isinstance(x, Tensor) or x.is_floating_point() or x.dtype == torch.bool:
        got = x.dtype if isinstance(x, Tensor) else f"a mapping of {sorted(x)}"
        raise InvalidInput(f"a masked process takes one integer tensor, got {got}")
    return x.long()


def spread(t: Tensor, x: Tensor) -> Tensor:
    """Times in float64, shaped to stand against tokens x."""
    like = torch.empty((), dtype=torch.float64, device=x.device).expand(x.shape)
    return torch.as_tensor(expand(as_time(t).to(x.device), like))


def of_symbol(w: Tensor, x: Tensor) -> Tensor:
    """The entry of each token's symbol in ``(..., 1)`` or ``(..., K)``; the mask takes the last one."""
    if w.shape[-1] == 1:
        return w[..., 0]
    wide = w.expand(*x.shape, w.shape[-1])
    return wide.gather(-1, x.clamp_max(w.shape[-1] - 1)[..., None])[..., 0]


def _probabilities(x0: State) -> Tensor:
    if not isinstance(x0, Tensor) or not x0.is_floating_point():
        raise InvalidInput("a posterior takes x0 as probabilities (batch, *event, K)")
    return x0


def _with_mask(p: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
    """``seen_v p_v`` at the symbols and ``sum_v hidden_v p_v`` at the mask; the shares sum to 1."""
    return torch.cat([seen.to(p) * p, (hidden.to(p) * p).sum(-1, keepdim=True)], dim=-1)
