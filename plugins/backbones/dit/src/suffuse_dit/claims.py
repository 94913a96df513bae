"""What the paper asserts: sizes, the identity at the start, and what that start is good for."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.task import Claim, Measure
from suffuse_dit.backbone import DiT
from suffuse_dit.presets import PRESETS

__all__ = ["AdaLNZero", "Sizes", "ZeroStart"]

# Millions of parameters as printed, for 4 x 32 x 32 latents of ImageNet with learned variance.
PUBLISHED = {
    "S/8": 33, "S/4": 33, "S/2": 33, "B/8": 131, "B/4": 130, "B/2": 130,
    "L/8": 459, "L/4": 458, "L/2": 458, "XL/8": 676, "XL/4": 675, "XL/2": 675,
}  # fmt: skip


@attrs.frozen(kw_only=True)
class Sizes(Claim):
    """The published parameter counts."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "the twelve published sizes have the published numbers of parameters, to the printed million "
        "(arXiv:2212.09748, appendix)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Half a million less the largest difference. Sabotage: heads narrower by two."""
        counts = {}
        with torch.device("meta"):
            for name, preset in PRESETS.items():
                width = preset["width"] - (2 * preset["heads"] if sabotage else 0)
                net = DiT(**{**preset, "width": width}, classes=1000, out_channels=8)
                counts[name] = sum(p.numel() for p in net.parameters()) / 1e6
        return Measure(effect=0.5 - max(abs(counts[k] - PUBLISHED[k]) for k in counts), numbers=counts)


@attrs.frozen(kw_only=True)
class ZeroStart(Claim):
    """The identity at initialisation."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = "at initialisation every block is the identity (arXiv:2212.09748, section 3.2)"

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest change of a token by six blocks, which must be exactly zero."""
        net = _network(seed, start="ordinary" if sabotage else "zero")
        rng = torch.Generator().manual_seed(seed)
        tokens, c = torch.randn(4, 16, 32, generator=rng), torch.randn(4, 32, generator=rng)
        out = tokens
        with torch.no_grad():
            for block in net.blocks.values():
                out = block(out, c)
        change = float((out - tokens).abs().max())
        return Measure(effect=1e-30 - change, numbers={"largest change": change})


@attrs.frozen(kw_only=True)
class AdaLNZero(Claim):
    """adaLN-Zero against adaLN."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "adaLN-Zero trains faster than adaLN in ordinary residual blocks: a lower velocity loss on the 8 x 8 digits "
        "after 100 steps, at equal parameters, batches and steps (arXiv:2212.09748, section 5, figure 5)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Loss of gates that start at 1, with random shifts and scales, less that of a zero start."""
        ordinary = _train(seed, "ordinary")
        zero = _train(seed, "ordinary" if sabotage else "zero")
        numbers = {"loss, ordinary start": ordinary, "loss, zero start": zero}
        if not sabotage:  # beside the claim: all modulations random, gates included, which the paper does not try
            numbers["loss, random start"] = _train(seed, "random")
        return Measure(effect=ordinary - zero, numbers=numbers)


def _network(seed: int, start: Literal["zero", "ordinary", "random"]) -> DiT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = DiT(channels=1, size=(8, 8), width=32, depth=6, heads=4, classes=10, noise_scale=1000.0)
        for block in net.blocks.values():
            linear = block.modulation[1]
            if start != "zero":
                nn.init.xavier_uniform_(linear.weight)
            if start == "ordinary":
                nn.init.ones_(linear.bias.data.view(6, -1)[2])
                nn.init.ones_(linear.bias.data.view(6, -1)[5])
    return net


def _train(seed: int, start: Literal["zero", "ordinary", "random"]) -> float:
    """The mean loss of the last 40 of 100 steps; every start sees the same batches, times and noise."""
    x, labels = _digits()
    net, rng = _network(seed, start), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0)
    losses = []
    for _ in range(100):
        at = torch.randint(len(x), (32,), generator=rng)
        t, noise = torch.rand(32, generator=rng), torch.randn(32, 1, 8, 8, generator=rng)
        x_t = x[at] + t[:, None, None, None] * (noise - x[at])
        loss = (net(x_t, t, Condition(label=labels[at])) - (noise - x[at])).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return sum(losses[-40:]) / 40


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits  # the extra `claims`

    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1, torch.tensor(digits.target)
