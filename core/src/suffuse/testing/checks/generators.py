"""Rules for generators, their latents and critics."""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import torch
from torch import Tensor

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Latent
from suffuse.rng import Rng
from suffuse.state import State, leaves, rows
from suffuse.testing.checks.networks import comes_back, labels_act, stirred
from suffuse.testing.conformance import Check, Exempt, Subject, demand

_DRAWS = 20_000


def _labels(subject: Subject, n: int) -> Condition:
    return Condition(label=torch.arange(n) % 2) if "conditional" in subject.part.gives else Condition()


def _latents(net: Any, n: int, dtype: torch.dtype = torch.float64) -> State:  # noqa: ANN401
    return cast(State, net.latent.law(n, dtype=dtype, device="cpu").sample(Rng.of(0, n).at("latent")))


def _made(net: Any, z: State, cond: Condition, rng: Rng) -> Tensor:  # noqa: ANN401
    """The first leaf of what the generator makes."""
    return next(v for _, v in leaves(net(z, cond, rng=rng)))


def samples(subject: Subject) -> None:
    """Finite samples in the latent's dtype, each a function of its own latent and stream; the latent is not changed."""
    net, rng, cond = stirred(subject), Rng.of(0, 5), _labels(subject, 5)
    z = _latents(net, 5)
    before = [v.clone() for _, v in leaves(z)]

    def sample(at: slice) -> Tensor:
        return _made(net, rows(z, at), cond.index(at), rng.index(at))

    whole = sample(slice(0, 5))
    demand(all(torch.equal(v, was) for (_, v), was in zip(leaves(z), before, strict=True)), "the latent was changed")
    demand(len(whole) == 5 and whole.isfinite().all(), f"expected 5 finite samples, got {tuple(whole.shape)}")
    demand(whole.dtype == torch.float64, f"float64 in gave {whole.dtype} out")
    demand(torch.equal(sample(slice(0, 5)), whole), "two runs differ")
    demand(torch.allclose(sample(slice(2, 3)), whole[2:3], atol=1e-9), "a sample depends on its neighbours")
    demand(not torch.equal(whole[0], whole[2]), "the samples do not depend on the latent")


def generator_conditions(subject: Subject) -> None:
    """A label matters, a dropped one does not, and dropping is row by row; a wrong one is refused."""
    net = stirred(subject)
    z = _latents(net, 4)
    labels_act(net, _labels(subject, 4), lambda cond: _made(net, z, cond, Rng.of(0, 4)))


def generator_saved(subject: Subject) -> None:
    """Saved and loaded, it makes the same samples."""
    z, cond = _latents(subject.part, 2), _labels(subject, 2)
    comes_back(subject, lambda net: _made(net, z, cond, Rng.of(0, 2)))


def learns(subject: Subject) -> None:
    """Gradients reach the weights and the latents, and are finite."""
    net = stirred(subject).train().requires_grad_()
    weights = list(net.parameters())
    if not weights:
        raise Exempt("has no weights")
    z = _latents(net, 4)
    inputs = [v.requires_grad_() for _, v in leaves(z) if v.is_floating_point()]
    out = _made(net, z, _labels(subject, 4), Rng.of(0, 4))
    found = torch.autograd.grad(out.square().sum(), [*weights, *inputs], allow_unused=True)
    demand(any(g is not None and bool(g.any()) for g in found[: len(weights)]), "no gradient reaches the weights")
    reached = all(g is not None and bool(g.any()) for g in found[len(weights) :])
    demand(reached, "no gradient reaches the latents")
    demand(all(bool(g.isfinite().all()) for g in found if g is not None), "a gradient is not finite")


def inverse(subject: Subject) -> None:
    """A flow's inverse leads back to the latent, with the log-determinant of its Jacobian (by autograd)."""
    net, cond = stirred(subject), _labels(subject, 3)
    if not hasattr(net, "inverse"):
        raise Exempt("has no inverse")
    z = _latents(net, 3)
    if not isinstance(z, Tensor) or z[0].numel() > 64:
        raise Exempt("a latent of more than 64 numbers: name a smaller example")
    x = _made(net, z, cond, Rng.of(0, 3))
    again, log_det = net.inverse(x, cond)
    demand(torch.allclose(again, z, atol=1e-6), f"the inverse is off by {float((again - z).abs().max()):.1e}")
    demand(log_det.shape == (3,), f"expected one log-determinant a sample (3,), got {tuple(log_det.shape)}")
    for i in range(3):
        at = slice(i, i + 1)
        back = torch.func.jacrev(lambda v, at=at: net.inverse(v, cond.index(at))[0])(x[at])
        exact = back.reshape(z[0].numel(), -1).slogdet().logabsdet
        demand(torch.allclose(log_det[i], exact, atol=1e-6), f"log |det| is {float(log_det[i])}, not {float(exact)}")


def law(subject: Subject) -> None:
    """A law of n latents: each row by its own stream, in the dtype asked for, with a finite log-density ``(n,)``."""
    part = subject.part
    assert isinstance(part, Latent)
    for dtype in (torch.float32, torch.float64):
        whole, rng = part.law(5, dtype=dtype, device="cpu"), Rng.of(0, 5)
        z = whole.sample(rng)
        demand(all(len(v) == 5 and v.isfinite().all() for _, v in leaves(z)), "expected 5 finite rows")
        wrong = [v.dtype for _, v in leaves(z) if v.is_floating_point() and v.dtype != dtype]
        demand(not wrong, f"{dtype} was asked for, got {wrong}")
        few = part.law(2, dtype=dtype, device="cpu").sample(rng.index(slice(2, 4)))
        for (name, v), (_, w) in zip(leaves(z), leaves(few), strict=True):
            demand(torch.equal(v[2:4], w), f"rows of the latent {name} depend on their neighbours".replace("  ", " "))
        log_prob = whole.log_prob(z)
        demand(log_prob.shape == (5,) and log_prob.isfinite().all(), f"log_prob of 5 draws is {log_prob.tolist()}")


def density(subject: Subject) -> None:
    """``log_prob`` is the density p of what is sampled: ``E_p[u/p] = P_u(p > 0)`` for any law u (5 standard errors).

    u is a mixture of Gaussians about 32 draws, as wide as the distance to each one's 50th of 2000 neighbours, so that
    the ratio's variance is about 1. Where draws repeat, the shares of the atoms are compared with their probabilities.
    """
    part = subject.part
    assert isinstance(part, Latent)

    def draw(n: int, seed: int) -> State:
        return part.law(n, dtype=torch.float64, device="cpu").sample(Rng.of(seed, n))

    def log_prob(z: Tensor) -> Tensor:
        return part.law(len(z), dtype=torch.float64, device="cpu").log_prob(z).detach().double()

    z = draw(_DRAWS, 1)
    if not isinstance(z, Tensor) or z[0].numel() > 4:
        raise Exempt("latents of more than 4 numbers: name a smaller example")
    z = z.detach()
    atoms, counts = torch.unique(z, dim=0, return_counts=True)
    if len(atoms) < _DRAWS // 10:
        p, share = log_prob(atoms).exp(), counts / _DRAWS
        off = float(((share - p).abs() / (p * (1 - p).clamp_min(0) / _DRAWS).sqrt().clamp_min(1 / _DRAWS)).max())
        demand(off < 5, f"an atom's share is {off:.1f} standard errors from its probability")
        return
    dim = z[0].numel()
    centres, near = (cast(Tensor, draw(n, seed)).detach().flatten(1) for n, seed in ((32, 2), (2000, 3)))
    width = torch.cdist(centres, near).kthvalue(50, dim=1).values
    squares = (torch.cdist(z.flatten(1), centres) / width).square() / 2
    log_u = torch.logsumexp(-squares - dim * (width.log() + math.log(2 * math.pi) / 2), 1) - math.log(32)
    ratio = (log_u - log_prob(z)).exp()
    g = torch.Generator().manual_seed(4)
    y = centres.repeat(_DRAWS // 32, 1)
    y = y + width.repeat(_DRAWS // 32)[:, None] * torch.randn(y.shape, generator=g, dtype=torch.float64)
    inside = (log_prob(y.reshape(-1, *z.shape[1:])) > -math.inf).double()
    error = math.sqrt(float(ratio.var()) / len(ratio) + float(inside.var()) / len(inside))
    off = abs(float(ratio.mean() - inside.mean()))
    demand(
        off <= 5 * error, f"log_prob is not that of the draws: E[u/p] is off by {off:.3f}, with an error of {error:.3f}"
    )


def _scored(subject: Subject, n: int) -> tuple[Tensor, Condition]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, *subject.shape, generator=g, dtype=torch.float64), _labels(subject, n)


def _told(subject: Subject, x: Tensor, cond: Condition) -> Condition:
    """A critic of steps is told x_t and t too: here another state, and the time 1, where every chain ends."""
    if "transitions" not in subject.part.gives:
        return cond
    return cond.also(x_t=x.roll(1, -1), t=torch.ones(len(x), dtype=torch.float64))


def scores(subject: Subject) -> None:
    """One finite number a sample, by itself, in the dtype of the input; it depends on the sample."""
    net = stirred(subject)
    x, cond = _scored(subject, 5)
    cond = _told(subject, x, cond)
    whole = net(x.clone(), cond)
    demand(whole.shape == (5,) and bool(whole.isfinite().all()), f"expected 5 finite scores, got {tuple(whole.shape)}")
    demand(whole.dtype == torch.float64, f"float64 in gave {whole.dtype} out")
    demand(len(set(whole.tolist())) > 1, "the scores do not depend on the samples")
    for i in (0, 4):
        alone = net(x[i : i + 1].clone(), cond.index(slice(i, i + 1)))
        demand(torch.allclose(alone, whole[i : i + 1], atol=1e-9), f"row {i} depends on its neighbours")


def critic_conditions(subject: Subject) -> None:
    """A label matters, a dropped one does not, and dropping is row by row; a wrong one is refused."""
    net = stirred(subject)
    x, cond = _scored(subject, 4)
    labels_act(net, cond, lambda c: net(x.clone(), _told(subject, x, c)))


def critic_saved(subject: Subject) -> None:
    """Saved and loaded, it gives the same scores."""
    x, cond = _scored(subject, 2)
    comes_back(subject, lambda net: net(x, _told(subject, x, cond)))


def penalised(subject: Subject) -> None:
    """The gradient in the sample has a gradient in the weights, finite: what gradient penalties need."""
    net = copy.deepcopy(cast(Any, subject.part)).double().train().requires_grad_()
    x, cond = _scored(subject, 4)
    cond = _told(subject, x, cond)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(net(x, cond).sum(), x, create_graph=True)
    demand(slope.requires_grad, "the gradient in the sample cannot be differentiated")
    found = torch.autograd.grad(slope.square().sum(), list(net.parameters()), allow_unused=True)
    demand(any(g is not None and bool(g.any()) for g in found), "the penalty has no gradient in the weights")
    demand(all(bool(g.isfinite().all()) for g in found if g is not None), "a gradient of the penalty is not finite")


GENERATOR: dict[str, Check] = {
    "samples": samples,
    "conditions": generator_conditions,
    "saved": generator_saved,
    "learns": learns,
    "inverse": inverse,
}
LATENT: dict[str, Check] = {"law": law, "density": density}
CRITIC: dict[str, Check] = {
    "scores": scores,
    "conditions": critic_conditions,
    "saved": critic_saved,
    "penalised": penalised,
}
