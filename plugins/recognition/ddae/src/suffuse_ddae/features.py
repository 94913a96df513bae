"""What a denoiser knows of data: the activations of its blocks at a noise level, one vector a sample."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone, Edit
from suffuse.contracts.process import as_time
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.state import promote
from suffuse.system import System

__all__ = ["INPUT", "X0", "backbone_of", "features", "known", "pooled"]

INPUT, X0 = "input", "x0"  # the noisy state, and the denoiser's estimate of the data: known of any denoiser


def backbone_of(system: System) -> Backbone | None:
    """The model's backbone, or None for a model without."""
    found = [m for m in cast(nn.Module, system.model).modules() if isinstance(m, Backbone)]
    if len(found) > 1:
        raise Unsupported(f"the model has {len(found)} backbones: features are read from one")
    return found[0] if found else None


def known(system: System, blocks: Sequence[str]) -> tuple[str, ...]:
    """These blocks, or, for none, all of the backbone's in order. ``InvalidInput`` for one that is not there."""
    backbone = backbone_of(system)
    there = tuple(backbone.blocks) if backbone is not None else ()
    if unknown := set(blocks) - set(there) - {INPUT, X0}:
        raise InvalidInput(f"no blocks {sorted(unknown)}; there are {', '.join((INPUT, *there, X0))}")
    if not blocks and not there:
        raise InvalidInput(f"this model has no blocks to read: name {INPUT} or {X0}")
    return tuple(blocks) or there


def pooled(h: Tensor) -> Tensor:
    """The mean over places, in at least float32: images ``(B, C, *size)`` and tokens ``(B, N, C)`` to ``(B, C)``."""
    h = promote(h)
    return h.mean(1) if h.ndim == 3 else h.flatten(2).mean(2) if h.ndim > 3 else h


def features(
    system: System, x0: Tensor, t: float | Tensor, at: Sequence[str], rng: Rng, *, samples: int = 1
) -> dict[str, Tensor]:
    """``h_block(x_t)`` with ``x_t ~ q(x_t | x_0)`` at a fixed t, pooled, the mean over ``samples`` noises: ``(B, C)``.

    The network between the input and the block is the encoder, the rest the decoder (Xiang et al. 2023,
    arXiv:2303.09769, section 3). The model is asked without a condition and without guidance. ``input`` is x_t and
    ``x0`` the estimate of the data, both flattened, not pooled. Gradients reach x0 and weights. Noise n has the stream
    ``(noise, n)``, the same for all blocks.
    """
    process, backbone, time = system.process, backbone_of(system), as_time(t)
    if process is None:
        raise Unsupported("features need a process that adds the noise")
    kept: dict[str, Tensor] = {}

    def add(name: str, h: Tensor) -> None:
        kept[name] = h / samples + kept[name] if name in kept else h / samples

    def keep(name: str) -> Edit:
        def edit(block: nn.Module, x: Tensor, *args: Tensor) -> Tensor:
            out: Tensor = block(x, *args)
            add(name, pooled(out))
            return out

        return edit

    edits = {name: keep(name) for name in at if name not in (INPUT, X0)}
    for n in range(samples):
        x_t = cast(Tensor, process.corrupt(x0, time, rng=rng.at("noise", n)).x_t)
        with backbone.edited(edits) if backbone is not None and edits else nullcontext():
            prediction = system.plain(x_t, time, Condition(), rng=rng.at("model", n)) if set(at) != {INPUT} else None
        if INPUT in at:
            add(INPUT, x_t.flatten(1))
        if X0 in at and prediction is not None:
            add(X0, cast(Tensor, prediction.x0).flatten(1))
    return {name: kept[name] for name in at}
