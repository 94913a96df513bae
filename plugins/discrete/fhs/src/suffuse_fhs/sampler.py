"""The first-hitting sampler."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import attrs
import torch
from suffuse_md4.bound import process_of
from suffuse_md4.process import tokens
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.rng import Rng
from suffuse.state import require
from suffuse.system import System
from suffuse_fhs.reveal import Reveal

__all__ = ["FirstHitting"]

_ROUNDING = 1e-9  # of shares that are whole numbers of tokens


@attrs.frozen(kw_only=True)
class FirstHitting(Sampler):
    """Draws when the next token is revealed instead of walking there: one network evaluation a token, and exact.

    Zheng et al., Masked Diffusion Models are Secretly Time-Agnostic Masked Models and Exploit Inaccurate Categorical
    Sampling, 2024, arXiv:2409.02908, section 4. With n tokens masked and u uniform, the first of them is hit at

        1 - alpha(tau') = (1 - alpha(tau)) u^(1/n);

    it is any of the n alike, and its symbol is drawn from ``softmax(logits)`` at tau'. The law is that of ancestral
    sampling with infinitely many steps, so it is exact for the exact denoiser. With fewer ``steps`` than tokens several
    are revealed by one evaluation, made at the first one's time, and independence between them is the price.

    The times are random and each row's own: ``StepInfo`` tells them, and of the grid only the number of steps is used.
    ``Carry.memory`` holds ``share``, 1 - alpha at the present time. Steps beyond the number of tokens cost nothing.
    Tokens that are given at the start stay.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"masked", "logits"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(1024, "network evaluations; from the number of tokens on the sampler is exact", ge=1)
    groups: Literal["equal", "cosine"] = setting(
        "equal",
        "how many tokens one evaluation reveals: as many each time, or few at first",
        choices=("equal", "cosine"),
    )

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One evaluation. Streams ``time`` and ``reveal``. ``Unsupported`` for s not below t."""
        require(s < t, "a first-hitting step goes back in time: s must be below t")
        process, x = process_of(system), tokens(carry.x)
        length = math.prod(x.shape[1:])
        calls = min(self.steps, length)
        if carry.n >= calls:
            return carry.advance(x), StepInfo(x_t=x, x_s=x, t=t, s=s, prediction=None, nfe=0)
        present = (x == process.symbols).flatten(1).sum(1)
        share = carry.memory.get("share", process.masked(t.to(x.device))[..., 0].expand(len(x)))
        keep = (present * self._kept(carry.n, calls) + _ROUNDING).floor().long()
        most = length if carry.n + 1 == calls else self._counts(length, calls)[carry.n]
        count = (present - keep).clamp_min(1).minimum(present).clamp_max(most)

        u = rng.at("time").uniform(torch.empty(len(x), most, dtype=torch.float64, device=x.device), open_interval=True)
        order = torch.arange(most, device=x.device)
        falls = u.log() / (present[:, None] - order).clamp_min(1) * (order < count[:, None])
        first, after = share * falls[:, 0].exp(), share * falls.sum(1).exp()

        begin, hit, end = (process.time(w[:, None]) for w in (share, first, after))
        prediction = system.denoise(x, hit, carry.cond, rng=rng)
        law = Reveal(x, prediction.logits, process.symbols, count, most)
        x_s = law.sample(rng.at("reveal"))
        info = StepInfo(x_t=x, x_s=x_s, t=begin, s=end, prediction=prediction, nfe=prediction.nfe, transition=law)
        return carry.advance(x_s, {"share": after}), info

    def _counts(self, length: int, calls: int) -> list[int]:
        """How many tokens each call reveals of ``length`` masked ones, and so at most of fewer."""
        found = []
        for n in range(calls):
            keep = math.floor(length * self._kept(n, calls) + _ROUNDING)
            found.append(max(1, length - keep))
            length = keep
        return found

    def _kept(self, n: int, calls: int) -> float:
        """The share of the masked tokens that call n leaves masked."""
        if self.groups == "equal":
            return (calls - n - 1) / (calls - n)
        return math.cos(math.pi / 2 * (n + 1) / calls) / math.cos(math.pi / 2 * n / calls)
