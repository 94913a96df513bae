"""The paper's assertions, on classes whose denoiser is known exactly, and on a network trained on digits."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Literal, cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.process import Gaussian, as_time
from suffuse.contracts.task import Claim, Dataset, Example, Measure
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle
from suffuse_ddae.features import INPUT, X0, features
from suffuse_ddae.probe import Probe

__all__ = ["Affine", "IndependentHeads", "Rows", "SomeNoise", "TrainingCounts"]

_PAPER = "Xiang et al. 2023, arXiv:2303.09769"


@attrs.frozen(eq=False, kw_only=True)
class Rows(Dataset):
    """Labelled vectors in memory."""

    x: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor, rng: Rng) -> Example:
        """These rows."""
        return Example(x=self.x[index], cond=Condition(label=self.label[index]))


@attrs.frozen(kw_only=True)
class Affine(Claim):
    """One Gaussian."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "for data N(m, S) and mean noise z the averaged estimate of the data at any level is m + K (alpha (x - m) + "
        "sigma z), K = alpha S (alpha^2 S + sigma^2 I)^-1: affine and invertible, so with infinitely many noises a "
        "linear probe's classes do not depend on the level"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The data, read back from features at three levels; tolerance 1e-8. Sabotaged, there are two Gaussians."""
        g = torch.Generator().manual_seed(seed)
        root, dim = torch.randn(4, 4, generator=g, dtype=torch.float64), 4
        eye = torch.eye(dim, dtype=torch.float64)
        s, m = root @ root.T / dim + 0.2 * eye, torch.randn(2, dim, generator=g, dtype=torch.float64)
        n = 2 if sabotage else 1
        law = GaussianMixture(torch.ones(n), m[:n], s.expand(n, dim, dim).clone())
        system, rng, x = mixture_system(law, Circle()), Rng.of(seed, 6), law.sample(g, 6)
        error = 0.0
        for t in (0.1, 0.4, 0.7):
            alpha, sigma = cast(Gaussian, system.process).scalars(as_time(t))
            found = features(system, x, t, (X0,), rng, samples=3)[X0]
            z = torch.stack([rng.at("noise", i).at("noise").at("").normal(x) for i in range(3)]).mean(0)
            gain = alpha * torch.linalg.solve(alpha**2 * s + sigma**2 * eye, s)
            read = (torch.linalg.solve(gain.T, (found - m[0]).T).T - sigma * z) / alpha + m[0]
            error = max(error, float((read - x).abs().max()))
        return Measure(effect=1e-8 - error, numbers={"error": error})


@cache
def _classes(seed: int) -> tuple[System, GaussianMixture]:
    """Ten classes in 64 dimensions, ``m_k = 0.5 N(0, I)`` with unit noise, scaled to unit variance; the denoiser."""
    from suffuse_ddpm.linear import Linear

    means = 0.5 * torch.randn(10, 64, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    law = GaussianMixture(
        torch.ones(10), means / 1.25**0.5, torch.full((10,), 1 / 1.25, dtype=torch.float64), torch.arange(10)
    )
    return mixture_system(law, Linear()), law


def _drawn(law: GaussianMixture, seed: int, each: int) -> Rows:
    """As many rows of each class."""
    g = torch.Generator().manual_seed(seed)
    x = torch.cat([law.conditioned(k).sample(g, each) for k in range(10)])
    return Rows(x=x, label=torch.arange(10).repeat_interleave(each))


def _accuracies(seed: int, times: tuple[float, ...], block: str) -> dict[float, float]:
    """Of probes trained on two labels a class, one for each t."""
    system, law = _classes(seed)
    train, test = _drawn(law, seed + 1000, 2), _drawn(law, seed + 2000, 100)
    task = Probe(train=train, test=test, blocks=(block,), samples=4, draws=1, epochs=150, learning_rate=0.02)
    rng = Rng.of(seed, 1)
    return {t: attrs.evolve(task, times=(t,)).run(system, {}, rng).metrics["accuracy"] for t in times}


@attrs.frozen(kw_only=True)
class IndependentHeads(Claim):
    """Many heads at once."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "a head trained beside others, on the same noise and order of batches, has the weights of one trained alone"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The largest difference of weights; tolerance 1e-6. Sabotaged, the one alone has another seed."""
        system, law = _classes(seed)
        train = _drawn(law, seed + 1000, 4)
        task = Probe(train=train, test=train, times=(0.1, 0.3), batch=16, epochs=4)
        keys, rows = [(block, t) for t in task.times for block in (INPUT, X0)], torch.arange(40)
        together = task.fitted(system, rows, keys, Rng.of(seed, 1))
        error = 0.0
        for key in keys:
            one = attrs.evolve(task, times=key[1:])
            alone = one.fitted(system, rows, [key], Rng.of(seed + sabotage, 1))[key]
            gap = max(float((v - w).detach().abs().max()) for v, w in zip(alone, together[key], strict=True))
            error = max(error, gap)
        return Measure(effect=1e-6 - error, numbers={"error": error})


@attrs.frozen(kw_only=True)
class SomeNoise(Claim):
    """Linear separability without a label in training."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "probes on two labels a class of an unconditional denoiser's estimate, read at t = 0.2 of 1, are 0.15 more "
        f"accurate than probes on the data themselves, which are better than at t = 0.5 ({_PAPER}, section 4)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The smaller gap; ten overlapping Gaussian classes, 1000 test points. Sabotaged, 0.2 is 0.001."""
        level = 0.001 if sabotage else 0.2
        pixels = _accuracies(seed, (0.0,), INPUT)[0.0]
        at = _accuracies(seed, (level, 0.5), X0)
        numbers = {"pixels": pixels, "some noise": at[level], "much noise": at[0.5]}
        return Measure(effect=min(at[level] - pixels - 0.15, pixels - at[0.5]), numbers=numbers)


@cache
def _network(seed: int | None) -> System:
    """digits/ddpm, told no label and not guided; with a seed, its weights are random."""
    from suffuse_digits.shipped import DDPM

    from suffuse.pipeline import Pipeline

    system = Pipeline.load(DDPM).system
    if seed is not None:
        with seeded(seed), torch.no_grad():
            for module in cast(nn.Module, system.model).modules():
                if isinstance(module, nn.Conv2d | nn.Linear | nn.GroupNorm | nn.Embedding):
                    module.reset_parameters()
    return attrs.evolve(system, guidance=None)


@attrs.frozen(kw_only=True)
class TrainingCounts(Claim):
    """Trained weights against random ones."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "the best of three middle blocks and two noise levels of digits/ddpm, chosen on 50 of 250 labelled digits, is "
        "0.05 more accurate on digits that it was not trained on than the best of the same network with random weights "
        f"({_PAPER}, section 4)"
    )
    margin: ClassVar[float] = 0.05

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Test accuracy, trained less random, and that of a probe on pixels; sabotaged, both are random."""
        from suffuse_digits.dataset import Digits

        g, sets = torch.Generator().manual_seed(seed), {}
        for split, n in (("train", 250), ("test", 200)):
            digits = Digits(split=cast("Literal['train', 'test']", split)).everything()
            at = torch.randperm(len(digits.cond["label"]), generator=g)[:n]
            sets[split] = Rows(x=cast(Tensor, digits.x)[at], label=digits.cond["label"][at])
        settings = {"draws": 1, "epochs": 150, "learning_rate": 0.02, "held": 0.2}
        task = Probe(**sets, blocks=("middle", "up_1_0", "up_1_1"), times=(0.011, 0.2), **settings)
        pixels = attrs.evolve(task, blocks=(INPUT,), times=(0.0,)).run(_network(None), {}, Rng.of(seed, 1))
        weights = {"trained": seed + 100 if sabotage else None, "random": seed}
        numbers = {k: task.run(_network(w), {}, Rng.of(seed, 1)).metrics["accuracy"] for k, w in weights.items()}
        numbers["pixels"] = pixels.metrics["accuracy"]
        return Measure(effect=numbers["trained"] - numbers["random"], numbers=numbers)
