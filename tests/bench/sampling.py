"""Seconds per sample: suffuse, a bare loop, diffusers and azula, with the same network, solver and steps.

Run it with ``make bench`` or ``python tests/bench/sampling.py [--threads N] [--only TEXT] [--rounds N]``. All must give
the same samples from the same noise before anything is timed. Then they take turns: a round times each once, in an
order that rotates, and ratios are taken within a round, so that the machine's other work cancels. Shown are medians
over the rounds, and a 95 % interval of the median ratio; no difference is claimed that the interval does not show.
"""

import argparse
import math
import time

import attrs
import torch
from contestants import Run, contestants
from suffuse_ddpm.unet import UNet
from torch import Tensor, nn

# Relative to the largest value: float32 rounding, grown over 50 steps. A time index off by one changes 4 %.
TOLERANCE = 1e-4


@attrs.frozen(kw_only=True)
class Case:
    """One table: a network, a batch and a solver."""

    size: str
    batch: int
    solver: str
    steps: int
    rounds: int

    @property
    def name(self) -> str:
        return f"{self.size}, batch {self.batch}, {self.solver}, {self.steps} steps"


CASES = [
    Case(size="tiny", batch=1, solver="ddim", steps=50, rounds=101),
    Case(size="tiny", batch=1, solver="2m", steps=50, rounds=51),
    Case(size="tiny", batch=64, solver="ddim", steps=50, rounds=15),
    Case(size="mid-size", batch=1, solver="ddim", steps=10, rounds=31),
    Case(size="mid-size", batch=1, solver="2m", steps=10, rounds=21),
    Case(size="mid-size", batch=64, solver="ddim", steps=2, rounds=7),
]


@attrs.frozen
class Interval:
    """A median with its 95 % interval, from the order statistics of independent rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Interval":
        n, ranked = len(values), sorted(values)
        k = max(0, math.floor((n - 1.96 * math.sqrt(n)) / 2))
        return cls(ranked[k], ranked[n // 2], ranked[n - 1 - k])

    def __str__(self) -> str:
        return f"{self.median:.3f}  ({self.low:.3f} ... {self.high:.3f})"

    def beside(self, bound: float, below: str, between: str, above: str) -> str:
        return below if self.high < bound else above if self.low > bound else between


def network(size: str) -> tuple[UNet, tuple[int, ...]]:
    """A frozen U-Net with random weights, 0.18 or 6.5 million, and the shape of a sample."""
    torch.manual_seed(0)
    if size == "tiny":
        net, shape = UNet(channels=1, width=16, multipliers=(1, 2), depth=1, attention=(1,)), (1, 8, 8)
    else:
        net, shape = UNet(width=64, multipliers=(1, 2, 2), attention=(1,)), (3, 32, 32)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and not bool(module.weight.any()):  # published networks start at zero output
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    return net.requires_grad_(False).eval(), shape


def parity(runs: dict[str, Run], start: Tensor) -> dict[str, float]:
    """The largest difference from the bare loop, relative to the largest value. Exits where it is too large."""
    samples = {name: run(start) for name, run in runs.items()}
    scale = samples["bare"].abs().max()
    errors = {name: float((x - samples["bare"]).abs().max() / scale) for name, x in samples.items()}
    if not all(e < TOLERANCE for e in errors.values()):
        raise SystemExit(f"not the same samples: {errors}")
    return errors


def measure(runs: dict[str, Run], case: Case) -> dict[str, list[float]]:
    """Seconds per sample of each, round by round; each draws its own noise."""
    names, seconds = list(runs), {name: [] for name in runs}
    for i in range(case.rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            begin = time.perf_counter()
            runs[name](None)
            seconds[name].append((time.perf_counter() - begin) / case.batch)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, other: str) -> Interval:
    """Within the rounds."""
    return Interval.of([a / b for a, b in zip(seconds[name], seconds[other], strict=True)])


def show(case: Case, seconds: dict[str, list[float]], errors: dict[str, float]) -> None:
    """Print the table and what it says of the claims."""
    print(f"\n{case.name}, {case.rounds} rounds")
    print(f"{'':11}{'s/sample':>9}  {'to the bare loop':27}{'difference':>11}")
    for name, own in seconds.items():
        median = Interval.of(own).median
        print(f"{name:11}{median:9.5f}  {ratio(seconds, name, 'bare')!s:27}{errors[name]:11.0e}")
    if case.size == "mid-size":
        within = ratio(seconds, "suffuse", "bare").beside(1.03, "yes", "undecided", "NO")
        print(f"within 3 % of the bare loop: {within}")
    for peer in sorted(set(seconds) - {"suffuse", "bare"}):
        against = ratio(seconds, "suffuse", peer)
        print(f"to {peer:10} {against}: {against.beside(1.0, 'faster', 'no difference', 'SLOWER')}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="rounds of every case")
    parser.add_argument("--only", default="", help="cases whose name has this text")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    print(f"torch {torch.__version__}, {args.threads} threads")
    for case in (c for c in CASES if args.only in c.name):
        case = attrs.evolve(case, rounds=args.rounds or case.rounds)
        net, event = network(case.size)
        runs = contestants(case.solver, net, (case.batch, *event), case.steps)
        start = torch.randn(case.batch, *event, generator=torch.Generator().manual_seed(1))
        errors = parity(runs, start)  # and a warm-up
        show(case, measure(runs, case), errors)


if __name__ == "__main__":
    main()
