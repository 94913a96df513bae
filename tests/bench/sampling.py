"""Seconds per sample: suffuse, a bare loop, diffusers and azula, with the same network, solver and steps.

Run it with ``make bench`` or ``python tests/bench/sampling.py [--threads N] [--only TEXT] [--rounds N]``. All must give
the same samples from the same noise before anything is timed. Then they take turns: a round times each once, in an order
that rotates, and the ratios to the bare loop are taken within a round, so that the machine's other work cancels. Shown are
medians over the rounds, and the quartiles of the ratios.
"""

import argparse
import statistics
import time

import attrs
import torch
from contestants import Run, contestants
from suffuse_ddpm.unet import UNet
from torch import Tensor, nn

# Coefficients of diffusers and azula are float32, which 10 steps and the first step's 1/alpha_1 = 158 amplify.
TOLERANCE = 1e-4  # of the largest value
MARGIN = 1.03  # what suffuse may cost, in units of the bare loop, on the mid-size network


@attrs.frozen(kw_only=True)
class Case:
    """One table: a network, a batch and a solver; ``repeats`` samples of the batch make one timing."""

    size: str
    batch: int
    solver: str
    steps: int
    rounds: int
    repeats: int = 1

    @property
    def name(self) -> str:
        return f"{self.size}, batch {self.batch}, {self.solver}, {self.steps} steps"


CASES = [
    Case(size="tiny", batch=1, solver="ddim", steps=20, rounds=41, repeats=4),
    Case(size="tiny", batch=1, solver="2m", steps=20, rounds=41, repeats=4),
    Case(size="tiny", batch=64, solver="ddim", steps=20, rounds=21),
    Case(size="mid-size", batch=1, solver="ddim", steps=10, rounds=21),
    Case(size="mid-size", batch=1, solver="2m", steps=10, rounds=21),
    Case(size="mid-size", batch=64, solver="ddim", steps=2, rounds=7),
]


def network(size: str) -> tuple[UNet, tuple[int, ...]]:
    """A frozen U-Net with random weights, and the shape of a sample."""
    if size == "tiny":
        net, shape = UNet(channels=1, width=16, multipliers=(1, 2), depth=1, attention=(1,)), (1, 8, 8)
    else:
        net, shape = UNet(width=64, multipliers=(1, 2, 2), attention=(1,)), (3, 32, 32)
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and not bool(module.weight.any()):  # the published start: an output of zeros
            module.weight.data.normal_(0, module.weight[0].numel() ** -0.5, generator=generator)
    return net.requires_grad_(False).eval(), shape


def parity(runs: dict[str, Run], start: Tensor) -> dict[str, float]:
    """The largest difference from the bare loop, relative to the largest value. Exits where it is too large."""
    samples = {name: run(start) for name, run in runs.items()}
    scale = samples["bare"].abs().max()
    errors = {name: float((x - samples["bare"]).abs().max() / scale) for name, x in samples.items()}
    if not max(errors.values()) < TOLERANCE:
        raise SystemExit(f"not the same samples: {errors}")
    return errors


def measure(runs: dict[str, Run], case: Case) -> dict[str, list[float]]:
    """Seconds per sample of each, round by round."""
    names, seconds = list(runs), {name: [] for name in runs}
    for i in range(case.rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            begin = time.perf_counter()
            for _ in range(case.repeats):
                runs[name](None)
            seconds[name].append((time.perf_counter() - begin) / case.repeats / case.batch)
    return seconds


def show(case: Case, seconds: dict[str, list[float]], errors: dict[str, float]) -> dict[str, float]:
    """Print the table; the median ratios to the bare loop."""
    print(f"\n{case.name}\n{'':10} {'ms/sample':>10} {'to bare':>9}   {'quartiles':15} {'difference':>10}")
    medians = {}
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds["bare"], strict=True)]
        low, medians[name], high = statistics.quantiles(ratios, n=4)
        print(
            f"{name:10} {statistics.median(own) * 1e3:10.3f} {medians[name]:9.3f}   {low:.3f} ... {high:.3f} "
            f"{errors[name]:12.1e}"
        )
    return medians


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
        ratios = show(case, measure(runs, case), errors)
        peer = min(r for name, r in ratios.items() if name not in ("suffuse", "bare"))
        if case.size == "mid-size":
            verdict("within 3 % of the bare loop", ratios["suffuse"] <= MARGIN)
        verdict("not slower than any peer", ratios["suffuse"] <= peer)


def verdict(claim: str, holds: bool) -> None:
    print(f"suffuse is {claim}: {'yes' if holds else 'NO'}")


if __name__ == "__main__":
    main()
