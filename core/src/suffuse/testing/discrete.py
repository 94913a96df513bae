"""Ground truth for tokens: laws small enough to list, their exact denoiser, and how far samples are from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, cast

import attrs
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import one_hot

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Categorical
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Logits
from suffuse.contracts.process import Discrete, Process, as_time
from suffuse.contracts.sampler import Carry
from suffuse.contracts.space import Tokens
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import State
from suffuse.system import System
from suffuse.testing.statistics import Statistic

__all__ = ["ExactTokens", "Joint", "chi_square", "exact_law", "joint_system", "total_variation", "variation_bound"]

# The least probability of an exact denoiser's logits: below it they would be -inf, which guidance cannot combine.
_TINY = 1e-300


def _probabilities(_: object, __: attrs.Attribute[Tensor], table: Tensor) -> None:
    if table.ndim < 1 or len(set(table.shape)) != 1 or table.dtype != torch.float64:
        raise InvalidInput(f"expected float64 probabilities (K,) * L, got {table.dtype} of shape {tuple(table.shape)}")
    if bool((table < 0).any()) or not math.isclose(float(table.sum()), 1.0, abs_tol=1e-6):  # float32 ones will do
        raise InvalidInput(
            f"expected probabilities, got a table from {float(table.min())} with sum {float(table.sum())}"
        )


@attrs.frozen(eq=False)
class Joint:
    """A law of sequences of L tokens out of K, as the table of all K^L probabilities."""

    table: Tensor = attrs.field(validator=_probabilities)

    @classmethod
    def random(cls, length: int, symbols: int, seed: int, coupling: float = 1.0) -> Joint:
        """``p(x) ~ exp(c sum_{i<j} W_ij[x_i, x_j])`` with standard normal W: every pair of positions depends."""
        g = torch.Generator().manual_seed(seed)
        energy = torch.zeros((symbols,) * length, dtype=torch.float64)
        for j in range(length):
            for i in range(j):
                w = torch.randn(symbols, symbols, generator=g, dtype=torch.float64)
                energy += coupling * w.view([symbols if d in (i, j) else 1 for d in range(length)])
        return cls(energy.flatten().softmax(0).view(energy.shape))

    @classmethod
    def product(cls, rows: Sequence[Sequence[float]] | Tensor) -> Joint:
        """Independent positions; row i holds the probabilities of position i."""
        return cls(_outer(torch.as_tensor(rows, dtype=torch.float64)[None])[0])

    @classmethod
    def chain(cls, initial: Tensor, transition: Tensor, length: int) -> Joint:
        """A Markov chain from ``initial`` ``(K,)`` by ``transition`` ``(K, K)``, rows summing to 1."""
        table = initial.double()
        for _ in range(length - 1):
            table = table[..., None] * transition.double()
        return cls(table)

    @property
    def length(self) -> int:
        """L."""
        return self.table.ndim

    @property
    def symbols(self) -> int:
        """K."""
        return self.table.shape[0]

    @property
    def entropy(self) -> float:
        """In nats."""
        return float(torch.special.entr(self.table).sum())

    @property
    def sequences(self) -> Tensor:
        """All of them in the table's order, int64 ``(K^L, L)``."""
        return _every(self.length, self.symbols)

    def log_prob(self, x: Tensor) -> Tensor:
        """Of sequences ``(B, L)``, in nats."""
        return self.table[tuple(x.unbind(1))].log()

    def sample(self, generator: torch.Generator, n: int) -> Tensor:
        """n exact draws, int64 ``(n, L)``."""
        p = self.table.flatten().cumsum(0)
        u = torch.rand(n, generator=generator, dtype=torch.float64) * p[-1]
        return self.sequences[torch.searchsorted(p, u, right=True)]

    def posterior(self, likelihood: Tensor) -> Tensor:
        """``p(x_0^i = k | x_t)``, ``(B, L, K)``, from ``q(x_t^i | x_0^i = k)`` ``(B, L, K)``.

        Uniform in rows whose x_t is impossible.
        """
        n = self.length
        joint = _outer(likelihood.double()) * self.table
        parts = [joint.sum([d + 1 for d in range(n) if d != i]) if n > 1 else joint for i in range(n)]
        marginals = torch.stack(parts, dim=1)
        total = marginals.sum(-1, keepdim=True)
        return torch.where(total > 0, marginals / total, 1 / self.symbols)


@module
class ExactTokens(Denoiser):
    """``log p(x_0^i | x_t)`` of a listed law, under any process of independent positions, at every time."""

    provides: ClassVar[frozenset[str]] = frozenset({"logits"})
    needs: ClassVar[frozenset[str]] = frozenset({"discrete"})

    joint: Joint

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
        """By Bayes' rule over all sequences, in float64."""
        if not isinstance(process, Discrete) or not isinstance(x_t, Tensor):
            raise Unsupported("an exact denoiser of tokens takes a tensor state of a discrete process")
        length, k = self.joint.length, self.joint.symbols
        if x_t.ndim != 2 or x_t.shape[1] != length:
            raise InvalidInput(f"expected states of shape (batch, {length}), got {tuple(x_t.shape)}")
        each = torch.eye(k, dtype=torch.float64).expand(*x_t.shape, k, k)
        kernel = process.marginal(each, as_time(t)).logits.softmax(-1)  # (B, L, K, S)
        likelihood = kernel.gather(-1, x_t[..., None, None].expand(*x_t.shape, k, 1))[..., 0]
        value = self.joint.posterior(likelihood).clamp_min(_TINY).log()
        return Logits(value=value, x_t=x_t, t=as_time(t))


def joint_system(joint: Joint, process: Process, **parts: Any) -> System:  # noqa: ANN401
    """A ``System`` with the exact denoiser; ``parts`` are its sampler, guidance and codec."""
    space = Tokens(shape=(joint.length,), symbols=joint.symbols, mask=True)
    return System(model=ExactTokens(joint=joint), process=process, space=space, **parts)


@torch.no_grad()
def exact_law(system: System, length: int) -> Tensor:
    """The law of a sampler's output, without sampling: the table ``(S,) * length`` after the whole walk.

    Follows every state through every step, so it needs steps whose ``transition`` is a law given the state alone.
    """
    process = system.process
    if not isinstance(process, Discrete) or system.sampler is None:
        raise Unsupported("an exact law needs a sampler on a discrete process")
    every = _every(length, process.states)
    rng, last = Rng.of(0, len(every)), system.sampler.terminal.last(system.step)
    start = process.prior(every)
    assert start is not None
    p = start.log_prob(every).double().exp() if not isinstance(start, Categorical) else _starting(start, every)
    walk = list(pairwise(system.points))
    for i, (t, s) in enumerate(walk):
        step = last if i + 1 == len(walk) else system.step
        _, info = step(system, Carry(x=every, cond=Condition(), n=i), t, s, rng.at("step", i))
        if isinstance(info.transition, Categorical):
            p = p @ _outer(info.transition.logits.double().softmax(-1)).flatten(1)
        elif info.transition is not None:
            rows = [info.transition.log_prob(x.expand_as(every)) for x in every]
            p = p @ torch.stack(rows, dim=1).double().exp()
        elif not torch.equal(cast(Tensor, info.x_s), every):
            raise Unsupported(f"a step of {type(system.sampler).__name__} gives no transition")
    return p.view((process.states,) * length)


def total_variation(p: Tensor, q: Tensor) -> float:
    """``1/2 sum |p - q|`` of two tables; entries that one lacks (the mask's) are zero there."""
    size = [max(a, b) for a, b in zip(p.shape, q.shape, strict=True)]
    wide = [torch.zeros(size, dtype=torch.float64) for _ in (p, q)]
    for w, table in zip(wide, (p, q), strict=True):
        w[tuple(slice(0, n) for n in table.shape)] = table.double()
    return float((wide[0] - wide[1]).abs().sum() / 2)


def counts(x: Tensor, symbols: int) -> Tensor:
    """How often each sequence occurs in samples ``(n, L)``: the table ``(symbols,) * L``."""
    place = torch.zeros(len(x), dtype=torch.int64)
    for column in x.unbind(1):
        place = place * symbols + column
    return place.bincount(minlength=symbols ** x.shape[1]).double().view((symbols,) * x.shape[1])


def variation_bound(table: Tensor, n: int, delta: float = 1e-6) -> float:
    """What the total variation between a law and n exact draws of it exceeds with probability below ``delta``.

    Its mean is at most ``1/2 sum sqrt(p (1 - p)/n)`` (Jensen), and it lies ``sqrt(log(1/delta)/(2 n))`` above the mean
    with probability below delta (McDiarmid: one draw moves it by at most 1/n).
    """
    return float((table * (1 - table) / n).sqrt().sum() / 2) + math.sqrt(math.log(1 / delta) / (2 * n))


def chi_square(x: Tensor, table: Tensor) -> Statistic:
    """Pearson's test of samples ``(n, L)`` against a law; sequences expected less than five times are counted together.

    The p-value is 0 where a sequence that cannot be was drawn.
    """
    expected, observed = table.flatten() * len(x), counts(x, table.shape[0]).flatten()
    if bool((observed[expected == 0] > 0).any()):
        return Statistic("chi-square", math.inf, len(x), p_value=0.0)
    order = expected.argsort()
    alone = (expected[order] >= 5) & (expected[order].cumsum(0) - expected[order] >= 5)
    pairs = [torch.cat([v[order][~alone].sum()[None], v[order][alone]]) for v in (observed, expected)]
    found = stats.chisquare(pairs[0].numpy(), pairs[1].numpy())
    return Statistic("chi-square", float(found.statistic), len(x), p_value=float(found.pvalue))


def _every(length: int, symbols: int) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(symbols)] * length).view(-1, length)


def _outer(rows: Tensor) -> Tensor:
    """The products of ``(B, L, K)`` over the positions: ``(B, K, ..., K)``."""
    table = rows[:, 0]
    for i in range(1, rows.shape[1]):
        table = table[..., None] * rows[:, i].view(-1, *[1] * i, rows.shape[2])
    return table


def _starting(law: Categorical, every: Tensor) -> Tensor:
    """The probability of each state under row 0's law: rows of a prior are alike."""
    chosen = law.logits[:1].log_softmax(-1).expand(len(every), *law.logits.shape[1:])
    return (chosen.double() * one_hot(every, law.logits.shape[-1])).nan_to_num(nan=0.0).sum((1, 2)).exp()
