"""Rules for backbones, encoders and codecs."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone, Codec, Encoder
from suffuse.errors import InvalidInput
from suffuse.testing.conformance import Check, Exempt, Subject, demand


def _stirred(subject: Subject) -> Any:  # noqa: ANN401
    """A copy in evaluation mode whose weights are all non-zero: zero-initialised layers would hide what they do."""
    net = copy.deepcopy(cast(nn.Module, subject.part)).double().eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.05)
    return net.requires_grad_(False)


def _inputs(subject: Subject, n: int) -> tuple[Tensor, Tensor, Condition]:
    g = torch.Generator().manual_seed(1)
    x = torch.randn(n, *subject.shape, generator=g, dtype=torch.float64)
    noise = torch.linspace(-1, 1, n, dtype=torch.float64)
    labelled = "conditional" in subject.part.gives
    return x, noise, Condition(label=torch.arange(n) % 2) if labelled else Condition()


def forward(subject: Subject) -> None:
    """The output has the input's batch and size, is finite, and depends on the input and on c_noise."""
    net, (x, noise, cond) = _stirred(subject), _inputs(subject, 3)
    out = net(x, noise, cond)
    demand(out.shape[0] == 3 and out.shape[2:] == x.shape[2:], f"{tuple(x.shape)} in gave {tuple(out.shape)} out")
    demand(bool(out.isfinite().all()), "the output is not finite")
    demand(not torch.equal(net(x + 1, noise, cond), out), "the output does not depend on x")
    demand(not torch.equal(net(x, noise + 1, cond), out), "the output does not depend on c_noise")


def rows(subject: Subject) -> None:
    """Each row is what it is alone, also where the batch is as large as another dimension (float64, 1e-9)."""
    net = _stirred(subject)
    for n in {2, 5, subject.shape[0], subject.shape[-1]} - {0, 1}:
        x, noise, cond = _inputs(subject, n)
        whole = net(x, noise, cond)
        for i in (0, n - 1):
            alone = net(x[i : i + 1], noise[i : i + 1], cond.index(slice(i, i + 1)))
            error = float((whole[i : i + 1] - alone).abs().max())
            demand(error < 1e-9, f"row {i} of {n} differs by {error:.1e} from the same row alone")


def conditions(subject: Subject) -> None:
    """A label matters, a dropped one does not, and dropping is row by row; a wrong one is refused."""
    net = _stirred(subject)
    x, noise, cond = _inputs(subject, 4)
    if not cond:
        try:
            net.check(Condition(label=torch.zeros(4, dtype=torch.long)))
        except InvalidInput:
            raise Exempt("takes no labels, and says so") from None
        demand(False, "takes no labels, but does not refuse one")
    other = Condition(label=1 - cond["label"])
    demand(not torch.allclose(net(x, noise, cond), net(x, noise, other)), "the label has no effect")
    dropped = net(x, noise, cond.drop("label"))
    demand(torch.equal(dropped, net(x, noise, other.drop("label"))), "a dropped label still has an effect")
    demand(torch.allclose(dropped, net(x, noise, Condition()), atol=1e-12), "dropped and absent labels differ")
    some = net(x, noise, cond.drop("label", where=torch.tensor([True, False, False, True])))
    mixed = torch.where(
        torch.tensor([True, False, False, True]).view(-1, *[1] * (x.ndim - 1)), dropped, net(x, noise, cond)
    )
    demand(torch.allclose(some, mixed, atol=1e-9), "dropping in some rows changes others")
    for wrong in (torch.tensor([0, 1, 2, 10**6]), torch.tensor([0, 1, 0, -1]), torch.rand(4)):
        try:
            net.check(Condition(label=wrong))
        except InvalidInput:
            continue
        demand(False, f"the label {wrong.tolist()} is accepted")


def blocks(subject: Subject) -> None:
    """Every named block can be read with gradients and edited; an edit ends with its context."""
    net, (x, noise, cond) = _stirred(subject), _inputs(subject, 2)
    plain = net(x, noise, cond)
    names = list(net.blocks)
    demand(names, "no named blocks")
    demand(isinstance(net, Backbone), "no Backbone")
    x = x.requires_grad_()
    kept = net.features(x, noise, cond, at=names)
    demand(set(kept) == set(names), f"features of {sorted(set(names) - set(kept))} are missing: run them by self.run")
    demand(all(v.requires_grad for v in kept.values()), "features have no gradients")
    with net.edited({names[0]: lambda block, h, *args: block(h, *args) * 1.5}):
        edited = net(x, noise, cond)
    demand(not torch.equal(edited, plain), "an edit of the first block has no effect")
    demand(torch.equal(net(x, noise, cond), plain), "an edit outlives its context")
    try:
        with net.edited({"no such block": lambda _, h, *__: h}):
            pass
    except InvalidInput as error:
        demand(names[0] in str(error), "an unknown block is refused without naming the known ones")
    else:
        demand(False, "an edit of an unknown block is accepted")


def saved(subject: Subject) -> None:
    """Saved as safetensors and loaded into a module built on the meta device, it computes the same bits."""
    from safetensors.torch import load_file, save_model

    net, (x, noise, cond) = _stirred(subject), _inputs(subject, 2)
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
        demand(torch.equal(fresh.eval()(x, noise, cond), net(x, noise, cond)), "the loaded network computes other bits")


def dtypes(subject: Subject) -> None:
    """Float32 agrees with float64 to 1e-3; bfloat16 runs and stays bfloat16."""
    net, (x, noise, cond) = _stirred(subject), _inputs(subject, 2)
    exact = net(x, noise, cond)
    single = copy.deepcopy(net).float()(x.float(), noise.float(), cond)
    demand(single.dtype == torch.float32, f"float32 in gave {single.dtype} out")
    error = float((single.double() - exact).abs().max() / (1 + exact.abs().max()))
    demand(error < 1e-3, f"float32 is off by {error:.1e}")
    half = copy.deepcopy(net).bfloat16()(x.bfloat16(), noise.bfloat16(), cond)
    demand(half.dtype == torch.bfloat16, f"bfloat16 in gave {half.dtype} out")
    demand(bool(half.isfinite().all()), "bfloat16 gives NaN or infinity")


def purity(subject: Subject) -> None:
    """Inputs are not changed, non-contiguous ones give the same result, and two runs the same bits."""
    net, (x, noise, cond) = _stirred(subject), _inputs(subject, 3)
    before = (x.clone(), noise.clone())
    out = net(x, noise, cond)
    demand(torch.equal(x, before[0]) and torch.equal(noise, before[1]), "an input was changed in place")
    demand(torch.equal(net(x, noise, cond), out), "two runs in evaluation mode differ")
    crooked = x.transpose(0, -1).contiguous().transpose(0, -1)
    error = float((net(crooked, noise, cond) - out).abs().max())
    demand(error < 1e-9, f"a non-contiguous input changes the result by {error:.1e}")


def refuses_shapes(subject: Subject) -> None:
    """An input of another width is answered by ``InvalidInput`` with both shapes."""
    net, (x, noise, cond) = _stirred(subject), _inputs(subject, 2)
    wrong = torch.cat([x, x[:, :1]], dim=1)
    try:
        net(wrong, noise, cond)
    except InvalidInput as error:
        demand(str(wrong.shape[1]) in str(error), f"a wrong width is answered by {str(error)!r}")
    except Exception as error:
        demand(False, f"a wrong width is answered by {type(error).__name__}: {error}")
    else:
        demand(False, f"an input of shape {tuple(wrong.shape)} is accepted")


def trains(subject: Subject) -> None:
    """After one step of gradient descent every parameter that is used has a gradient, and all are finite."""
    net = copy.deepcopy(cast(Any, subject.part)).double().train()
    x, noise, cond = _inputs(subject, 4)
    goal = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(3):  # zero-initialised layers pass gradients on from the second step
        optimizer.zero_grad()
        half = None if not cond else cond.drop("label", where=torch.tensor([True, False, True, False]))
        out = net(x, noise, half or cond)
        (out[:, : goal.shape[1]] - goal).square().mean().backward()
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
    data = torch.linspace(low, high, 64).view(4, *(shape or (16,)))
    again = part.decode(part.encode(data))
    error = float((cast(Tensor, again) - data).abs().max())
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
    "rows": rows,
    "conditions": conditions,
    "blocks": blocks,
    "saved": saved,
    "dtypes": dtypes,
    "purity": purity,
    "shapes": refuses_shapes,
    "trains": trains,
}
CODEC: dict[str, Check] = {"inverse": codec_inverse}
ENCODER: dict[str, Check] = {"output": encoder_output}
