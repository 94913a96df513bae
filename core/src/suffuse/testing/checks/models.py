"""Rules for denoisers, generators, latents and adapters."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Latent
from suffuse.contracts.network import Adapter
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Process
from suffuse.rng import Rng
from suffuse.state import leaves, rows
from suffuse.testing.conformance import Check, Exempt, Subject, demand
from suffuse.testing.stand_ins import Circle, LinearNet


def denoiser(subject: Subject) -> None:
    """Finite at inner times, float64 kept, each row by itself, the same for one time and for one a row."""
    net: Any = copy.deepcopy(cast(Any, subject.part)).double().eval()
    process = cast(Process, subject.beside("process")) or Circle()
    x = torch.randn(5, *subject.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)

    def value(x: Tensor, t: Tensor, row: slice) -> Tensor:
        found: Prediction = net(x[row].clone(), t, Condition(), process=process, rng=Rng.of(0, 5).index(row))
        demand(isinstance(found, Prediction), f"expected a Prediction, got {type(found).__name__}")
        return next(v for _, v in leaves(found.value))

    whole = value(x, t, slice(0, 5))
    demand(whole.isfinite().all() and len(whole) == 5, "not finite inside (0, 1)")
    demand(whole.dtype == torch.float64, f"float64 in gave {whole.dtype} out")
    for i in range(5):
        for time in (t[i : i + 1], t[i]):
            alone = value(x, time, slice(i, i + 1))
            demand(torch.allclose(alone, whole[i : i + 1], atol=1e-9), f"row {i} depends on its neighbours")


def generator(subject: Subject) -> None:
    """Finite samples, each a function of its own latent and stream; the latent is not changed."""
    net: Any = copy.deepcopy(cast(Any, subject.part)).eval()
    rng = Rng.of(0, 5)
    z = net.latent.law(5, dtype=torch.float32, device="cpu").sample(rng.at("latent"))
    before = [v.clone() for _, v in leaves(z)]

    def sample(at: slice) -> Tensor:
        return next(v for _, v in leaves(net(rows(z, at), Condition(), rng=rng.index(at))))

    whole = sample(slice(0, 5))
    demand(all(torch.equal(v, was) for (_, v), was in zip(leaves(z), before, strict=True)), "the latent was changed")
    demand(len(whole) == 5 and whole.isfinite().all(), f"expected 5 finite samples, got {tuple(whole.shape)}")
    demand(torch.equal(sample(slice(0, 5)), whole), "two runs differ")
    demand(torch.allclose(sample(slice(2, 3)), whole[2:3], atol=1e-5), "a sample depends on its neighbours")
    demand(not torch.equal(whole[0], whole[1]), "the samples do not depend on the latent")


def latent(subject: Subject) -> None:
    """A law of n latents: each row by its own stream, with a finite log-density ``(n,)``."""
    part = subject.part
    assert isinstance(part, Latent)
    law = part.law(5, dtype=torch.float32, device="cpu")
    z, rng = law.sample(Rng.of(0, 5)), Rng.of(0, 5)
    demand(all(len(v) == 5 and v.isfinite().all() for _, v in leaves(z)), "expected 5 finite rows")
    few = part.law(2, dtype=torch.float32, device="cpu").sample(rng.index(slice(2, 4)))
    for (name, v), (_, w) in zip(leaves(z), leaves(few), strict=True):
        demand(torch.equal(v[2:4], w), f"rows of the latent {name} depend on their neighbours".replace("  ", " "))
    log_prob = law.log_prob(z)
    demand(log_prob.shape == (5,) and log_prob.isfinite().all(), f"log_prob of 5 draws is {log_prob.tolist()}")


def adapter(subject: Subject) -> None:
    """Inside, named parameters that train and act; outside, the network computes the same bits as before."""
    part = subject.part
    assert isinstance(part, Adapter)
    net = cast(nn.Module, subject.beside("backbone")) or LinearNet(dim=4, classes=0)
    net = copy.deepcopy(net).double().eval().requires_grad_(False)
    shape = cast(Any, net).shape
    if not shape:
        raise Exempt("the backbone beside it names no shape")
    g = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, *shape, generator=g, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), Condition()
    plain, names = net(*inputs), {k: v.clone() for k, v in net.state_dict().items()}
    with part.attach(net) as trained:
        demand(trained, "no parameters to train")
        demand(all(isinstance(p, nn.Parameter) and p.requires_grad for p in trained.values()), "a parameter is frozen")
        with torch.no_grad():
            for p in trained.values():
                p.add_(torch.randn(p.shape, generator=g, dtype=torch.float64).to(p.dtype))
        demand(not torch.equal(net(*inputs), plain), "its parameters change nothing")
    demand(torch.equal(net(*inputs), plain), "it outlives its context: the network computes other bits")
    same = net.state_dict().keys() == names.keys()
    demand(same and all(torch.equal(v, names[k]) for k, v in net.state_dict().items()), "the network's weights changed")


DENOISER: dict[str, Check] = {"answers": denoiser}
GENERATOR: dict[str, Check] = {"samples": generator}
LATENT: dict[str, Check] = {"law": latent}
ADAPTER: dict[str, Check] = {"reversible": adapter}
