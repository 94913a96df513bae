"""Rules for denoisers and adapters."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Adapter
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Discrete, Process
from suffuse.contracts.space import Space
from suffuse.rng import Rng
from suffuse.state import State, leaves, rows, tree_map
from suffuse.testing.conformance import Check, Exempt, Subject, demand
from suffuse.testing.stand_ins import Circle, LinearNet


def denoiser(subject: Subject) -> None:
    """Finite at inner times, float64 kept, each row by itself, the same for one time and for one a row."""
    net: Any = copy.deepcopy(cast(Any, subject.part)).double().eval()
    process = cast(Process, subject.beside("process")) or Circle()
    g = torch.Generator().manual_seed(1)
    space = cast(Space, subject.beside("space"))
    x: State
    if space is not None:
        x = space.noise(space.like(5, dtype=torch.float64), Rng.of(1, 5))
    elif isinstance(process, Discrete):
        x = torch.randint(process.states, (5, *subject.shape), generator=g)
    else:
        x = torch.randn(5, *subject.shape, generator=g, dtype=torch.float64)
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64)

    def value(x: State, t: Tensor, row: slice) -> Tensor:
        state, rng = tree_map(torch.clone, rows(x, row)), Rng.of(0, 5).index(row)
        found: Prediction = net(state, t, Condition(), process=process, rng=rng)
        demand(isinstance(found, Prediction), f"expected a Prediction, got {type(found).__name__}")
        return torch.cat([v.flatten(1) for _, v in leaves(found.value)], dim=1)

    whole = value(x, t, slice(0, 5))
    demand(whole.isfinite().all() and len(whole) == 5, "not finite inside (0, 1)")
    demand(whole.dtype == torch.float64, f"float64 in gave {whole.dtype} out")
    for i in range(5):
        for time in (t[i : i + 1], t[i]):
            alone = value(x, time, slice(i, i + 1))
            demand(torch.allclose(alone, whole[i : i + 1], atol=1e-9), f"row {i} depends on its neighbours")


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
ADAPTER: dict[str, Check] = {"reversible": adapter}
