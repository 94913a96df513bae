"""Rules for backbones, encoders and codecs."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Codec, Encoder
from suffuse.contracts.task import Dataset
from suffuse.rng import Rng
from suffuse.state import State, leaves
from suffuse.testing.conformance import Check, Exempt, Subject, demand, refused


def stirred(subject: Subject, dtype: torch.dtype = torch.float64) -> Any:  # noqa: ANN401
    """A copy in evaluation mode whose weights are all non-zero: zero-initialised layers would hide what they do."""
    net = copy.deepcopy(cast(nn.Module, subject.part)).to(dtype).eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=torch.float64).to(dtype) * 0.05)
    return net.requires_grad_(False)


def _inputs(subject: Subject, n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Condition]:
    g = torch.Generator().manual_seed(1)
    alphabet = getattr(subject.part, "states", None)
    if alphabet is None:
        x = torch.randn(n, *subject.shape, generator=g, dtype=torch.float64)
    else:
        x = torch.randint(alphabet, (n, *subject.shape), generator=g)
    noise = torch.linspace(-1, 1, n, dtype=torch.float64)
    labelled = "conditional" in subject.part.gives
    return _as(x, dtype), noise.to(dtype), Condition(label=torch.arange(n) % 2) if labelled else Condition()


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Tokens stay what they are."""
    return x.to(dtype) if x.is_floating_point() else x


def _call(net: Any, x: Tensor, noise: Tensor, cond: Condition) -> Tensor:  # noqa: ANN401
    """On copies: only ``purity`` is about inputs that are changed."""
    return cast(Tensor, net(x.clone(), noise.clone(), cond))


def forward(subject: Subject) -> None:
    """The output has the input's batch and size (or is one of logits), is finite, and depends on x and on c_noise."""
    net, (x, noise, cond) = stirred(subject, torch.float32), _inputs(subject, 3, torch.float32)
    out = _call(net, x, noise, cond)
    size = out.shape[:-1] == x.shape if not x.is_floating_point() else out.shape[2:] == x.shape[2:]
    demand(out.shape[0] == 3 and (size or out.ndim == 2), f"{tuple(x.shape)} in gave {tuple(out.shape)} out")
    demand(out.isfinite().all(), "the output is not finite")
    other = x + 1 if x.is_floating_point() else (x + 1) % int(x.max() + 1)
    demand(not torch.equal(_call(net, other, noise, cond), out), "the output does not depend on x")
    demand(not torch.equal(_call(net, x, noise + 1, cond), out), "the output does not depend on c_noise")


def replay(subject: Subject) -> None:
    """Two runs in evaluation mode give the same bits."""
    net, (x, noise, cond) = stirred(subject, torch.float32), _inputs(subject, 3, torch.float32)
    same = torch.equal(_call(net, x, noise, cond), _call(net, x, noise, cond))
    demand(same, "two runs in evaluation mode differ: is there dropout that is always on?")


def batch_invariance(subject: Subject) -> None:
    """Each row is what it is alone (float64, 1e-9)."""
    _each_row(subject, next(n for n in (5, 7, 11, 13, 17) if n not in _sizes(subject)), "")


def broadcast(subject: Subject) -> None:
    """It is so also where the batch is as large as a dimension of the input or of a layer."""
    for n in _sizes(subject):
        _each_row(subject, n, "a dimension has that size: is a (batch,) or (batch, width) tensor broadcast against it?")


def _sizes(subject: Subject) -> list[int]:
    weights = {n for p in cast(nn.Module, subject.part).parameters() for n in p.shape}
    return sorted(n for n in weights | set(subject.shape) if 1 < n <= 16)


def _each_row(subject: Subject, n: int, hint: str) -> None:
    net, (x, noise, cond) = stirred(subject), _inputs(subject, n)
    whole = _call(net, x, noise, cond)
    for i in (0, n - 1):
        alone = _call(net, x[i : i + 1], noise[i : i + 1], cond.index(slice(i, i + 1)))
        error = float((whole[i : i + 1] - alone).abs().max())
        demand(error < 1e-9, f"row {i} of {n} differs by {error:.1e} from the same row alone; {hint}".rstrip("; "))


def conditions(subject: Subject) -> None:
    """A label matters, a dropped one does not, and dropping is row by row; a wrong one is refused."""
    net = stirred(subject)
    x, noise, cond = _inputs(subject, 4)
    labels_act(net, cond, lambda c: _call(net, x, noise, c))


def labels_act(net: Any, cond: Condition, call: Callable[[Condition], Tensor]) -> None:  # noqa: ANN401
    """The rule of labels for any network: ``call`` gives its four outputs under a condition."""
    if not cond:
        refused(lambda: net.check(Condition(label=torch.zeros(4, dtype=torch.long))), "a label for a model without any")
        raise Exempt("takes no labels, and says so")
    other = Condition(label=1 - cond["label"])
    given, dropped = call(cond), call(cond.drop("label"))
    demand(not torch.allclose(given, call(other)), "the label has no effect")
    demand(torch.equal(dropped, call(other.drop("label"))), "a dropped label still has an effect")
    demand(torch.allclose(dropped, call(Condition()), atol=1e-12), "dropped and absent labels differ")
    where = torch.tensor([True, False, False, True])
    mixed = torch.where(where.view(-1, *[1] * (given.ndim - 1)), dropped, given)
    demand(
        torch.allclose(call(cond.drop("label", where=where)), mixed, atol=1e-9), "dropping in some rows changes others"
    )
    for wrong in (torch.tensor([0, 1, 2, 10**6]), torch.tensor([0, 1, 0, -1]), torch.rand(4)):
        refused(partial(net.check, Condition(label=wrong)), f"the label {wrong.tolist()}")


def blocks(subject: Subject) -> None:
    """Every named block can be read with gradients and edited; an edit ends with its context."""
    net, (x, noise, cond) = stirred(subject), _inputs(subject, 2)
    plain = _call(net, x, noise, cond)
    names = list(net.blocks)
    demand(names, "no named blocks")
    if x.is_floating_point():
        x = x.requires_grad_()
    else:
        net.requires_grad_(True)
    kept = net.features(x.clone(), noise.clone(), cond, at=names)
    demand(set(kept) == set(names), f"features of {sorted(set(names) - set(kept))} are missing: run them by self.run")
    demand(all(v.requires_grad for v in kept.values()), "features have no gradients")
    with net.edited({names[0]: lambda block, h, *args: block(h, *args) * 1.5}):
        edited = _call(net, x, noise, cond)
    demand(not torch.equal(edited, plain), "an edit of the first block has no effect")
    demand(torch.equal(_call(net, x, noise, cond), plain), "an edit outlives its context")
    unknown = net.edited({"no such block": lambda _, h, *__: h})
    refused(unknown.__enter__, "an edit of an unknown block", names[0])


def saved(subject: Subject) -> None:
    """Saved as safetensors and loaded into a module built on the meta device, it computes the same bits."""
    x, noise, cond = _inputs(subject, 2)
    comes_back(subject, lambda net: _call(net, x, noise, cond))


def comes_back(subject: Subject, call: Callable[[Any], Tensor]) -> None:
    """The rule of saving for any network: ``call`` gives a network's output."""
    from safetensors.torch import load_file, save_model

    net = stirred(subject)
    if subject.ref is None:
        raise Exempt("registered by no plugin")
    from suffuse.spec import structure, unstructure

    spec = unstructure(subject.part, registry=subject.known)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_model(net, str(file))
        with torch.device("meta"):
            fresh: Any = structure(spec, type(subject.part), registry=subject.known)
        fresh.load_state_dict(load_file(str(file)), strict=False, assign=True)
        left = [k for k, v in (*fresh.named_parameters(), *fresh.named_buffers()) if v.is_meta]
        demand(not left, f"not saved: {left[:3]} (buffers must be persistent)")
        demand(torch.equal(call(fresh.eval()), call(net)), "the loaded network computes other bits")


def float64(subject: Subject) -> None:
    """It runs in float64, and float32 agrees to 1e-3."""
    net, (x, noise, cond) = stirred(subject), _inputs(subject, 2)
    exact = _call(net, x, noise, cond)
    demand(exact.dtype == torch.float64, f"float64 in gave {exact.dtype} out")
    single = _call(net.float(), _as(x, torch.float32), noise.float(), cond)
    demand(single.dtype == torch.float32, f"float32 in gave {single.dtype} out")
    error = float((single.double() - exact).abs().max() / (1 + exact.abs().max()))
    demand(error < 1e-3, f"float32 is off by {error:.1e}")


def half(subject: Subject) -> None:
    """It runs in bfloat16 and float16 with c_noise in float32, stays in them, and is finite."""
    for dtype in (torch.bfloat16, torch.float16):
        net, (x, noise, cond) = stirred(subject).to(dtype), _inputs(subject, 2, dtype)
        out = _call(net, x, noise.float(), cond)
        demand(out.dtype == dtype, f"{dtype} in gave {out.dtype} out")
        demand(out.isfinite().all(), f"{dtype} gives NaN or infinity")


def purity(subject: Subject) -> None:
    """The inputs are not changed."""
    net, (x, noise, cond) = stirred(subject), _inputs(subject, 3)
    net(x, noise, cond)
    before = _inputs(subject, 3)
    demand(torch.equal(x, before[0]), "x was changed in place")
    demand(torch.equal(noise, before[1]), "c_noise was changed in place")
    same = all(torch.equal(cond[k], before[2][k]) for k in cond)
    demand(same, "the condition was changed in place")


def contiguity(subject: Subject) -> None:
    """A non-contiguous input gives the same result as a contiguous one."""
    net, (x, noise, cond) = stirred(subject), _inputs(subject, 3)
    crooked = x.transpose(0, -1).contiguous().transpose(0, -1)
    error = float((_call(net, crooked, noise, cond) - _call(net, x, noise, cond)).abs().max())
    demand(error < 1e-9, f"a non-contiguous input changes the result by {error:.1e}")


def bad_input(subject: Subject) -> None:
    """An input of another width is refused with the width that came."""
    net, (x, noise, cond) = stirred(subject), _inputs(subject, 2)
    wrong = torch.cat([x, x[:, :1]], dim=1)
    refused(lambda: net(wrong, noise, cond), f"an input of shape {tuple(wrong.shape)}", str(wrong.shape[1]))


def trains(subject: Subject) -> None:
    """After one step of gradient descent every parameter that is used has a gradient, and all are finite."""
    net = copy.deepcopy(cast(Any, subject.part)).double().train()
    x, noise, cond = _inputs(subject, 4)
    shape = _call(net, x, noise, cond).shape
    goal = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(3):  # zero-initialised layers pass gradients on from the second step
        optimizer.zero_grad()
        half = None if not cond else cond.drop("label", where=torch.tensor([True, False, True, False]))
        out = _call(net, x, noise, half or cond)
        torch.autograd.backward((out - goal).square().mean())
        optimizer.step()
    dead = [name for name, p in net.named_parameters() if p.grad is None]
    demand(not dead, f"parameters that nothing uses: {dead[:3]}")
    demand(all(bool(p.grad.isfinite().all()) for p in net.parameters()), "a gradient is not finite")


def codec_inverse(subject: Subject) -> None:
    """``decode(encode(d)) == d`` within the data's range, in float32 rounding, unless the codec is trained."""
    part = subject.part
    assert isinstance(part, Codec)
    if isinstance(part, nn.Module):
        raise Exempt("a trained codec has a loss of its own")
    low, high = max(part.low, -10.0), min(part.high, 10.0)
    shape = subject.component.shape if subject.component is not None else ()
    data: State = torch.linspace(low, high, 64).view(4, *(shape or (16,)))
    if (beside := cast(Dataset, subject.beside("dataset"))) is not None:
        data = beside.rows(torch.arange(4), Rng.of(0, 4)).x
    pairs = zip(leaves(part.decode(part.encode(data))), leaves(data), strict=True)
    error = max(float((v - w).abs().max()) for (_, v), (_, w) in pairs)
    demand(error <= 1e-5 * max(1.0, abs(low), abs(high)), f"decode(encode(d)) is off by {error:.1e}")


def encoder_output(subject: Subject) -> None:
    """One vector a sample, finite, each row by itself, differentiable in the data."""
    net = copy.deepcopy(cast(Any, subject.part)).double().eval()
    assert isinstance(net, Encoder)
    x = torch.rand(3, *subject.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = x.requires_grad_()
    whole = net(x).whole
    demand(whole.ndim == 2 and len(whole) == 3 and bool(whole.isfinite().all()), f"got {tuple(whole.shape)}")
    demand(torch.allclose(net(x[:1]).whole, whole[:1], atol=1e-9), "a row depends on its neighbours")
    (slope,) = torch.autograd.grad(whole.sum(), x)
    demand(bool(slope.isfinite().all()), "the gradient in the data is not finite")


CHECKS: dict[str, Check] = {
    "forward": forward,
    "replay": replay,
    "batch-invariance": batch_invariance,
    "broadcast": broadcast,
    "conditions": conditions,
    "blocks": blocks,
    "saved": saved,
    "float64": float64,
    "half": half,
    "purity": purity,
    "contiguity": contiguity,
    "bad-input": bad_input,
    "trains": trains,
}
CODEC: dict[str, Check] = {"inverse": codec_inverse}
ENCODER: dict[str, Check] = {"output": encoder_output}
