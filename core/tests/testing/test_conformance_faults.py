"""Each fault that the kit is for, as an author would make it: it fails exactly the check of that fault."""

import math
from typing import Any, ClassVar

import attrs
import pytest
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Normal
from suffuse.contracts.network import Backbone, check_labels
from suffuse.contracts.part import module, setting
from suffuse.contracts.process import Corruption, Gaussian, Kernel, as_time
from suffuse.contracts.sampler import Sampler, StepInfo
from suffuse.errors import InvalidInput
from suffuse.state import combine, promote
from suffuse.testing import check
from suffuse.testing.stand_ins import Circle

frozen = attrs.frozen(kw_only=True)

# --- processes


@frozen
class Cosine(Gaussian):
    """Right: alpha = cos(pi t / 2), sigma = sin(pi t / 2)."""

    def kernel(self, t):
        return Kernel(torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2))

    def time(self, log_snr):
        return torch.atan(torch.exp(-as_time(log_snr) / 2)) * 2 / math.pi


@frozen
class WrongDerivative(Cosine):
    """The inner derivative is forgotten."""

    def derivative(self, t):
        return Kernel(-torch.sin(t * math.pi / 2), torch.cos(t * math.pi / 2))


@frozen
class TwiceTheDrift(Cosine):
    """beta where beta / 2 belongs."""

    def drift(self, x, t):
        return combine(2.0, Gaussian.drift(self, x, t), 0.0, x)


@frozen
class PosteriorWithVariance(Cosine):
    """A variance is passed where a standard deviation is expected."""

    def posterior(self, x_t, x0, t, s):
        law = Gaussian.posterior(self, x_t, x0, t, s)
        return Normal(law.mean, law.std**2)


@frozen
class NanAtZero(Cosine):
    """alpha = sigma exp(log_snr / 2) is 0 times infinity where there is no noise."""

    def kernel(self, t):
        log_snr = -2 * torch.log(torch.tan(t * math.pi / 2))
        sigma = torch.sigmoid(-log_snr).sqrt()
        return Kernel(sigma * torch.exp(log_snr / 2), sigma)


@frozen
class NanAtOne(Gaussian):
    """sigma = alpha exp(-log_snr / 2) is 0 times infinity where there is no signal."""

    def kernel(self, t):
        log_snr = 2 * torch.log((1 - t) / t)
        alpha = torch.sigmoid(log_snr).sqrt()
        return Kernel(alpha, alpha * torch.exp(-log_snr / 2))

    def time(self, log_snr):
        return torch.sigmoid(-as_time(log_snr) / 2)


def _corrupt(process: Gaussian, x0: Tensor, t: Tensor, eps: Tensor) -> Corruption:
    k = process.kernel(as_time(t))
    return Corruption(combine(k.alpha, x0, k.sigma, eps), x0, t, noise=eps)


@frozen
class OneGeneratorForAll(Cosine):
    """The noise of the whole batch comes from one generator."""

    def corrupt(self, x0, t, *, rng, end=None):
        generator = torch.Generator().manual_seed(rng.seed())
        return _corrupt(self, x0, t, torch.randn(x0.shape, generator=generator))


@frozen
class TimesOnTheRight(Cosine):
    """``alpha * x0`` broadcasts a (batch,) time against the columns."""

    def corrupt(self, x0, t, *, rng, end=None):
        x, eps = promote(x0), rng.normal(promote(x0))
        alpha, sigma = (w.to(x.dtype) for w in self.scalars(t))
        return Corruption(alpha * x + sigma * eps, x0, t, noise=eps)


@frozen
class HalfPrecision(Cosine):
    """What is noisy gets the dtype of what came in."""

    def corrupt(self, x0, t, *, rng, end=None):
        noisy = _corrupt(self, x0, t, rng.normal(promote(x0)))
        return attrs.evolve(noisy, x_t=noisy.x_t.to(x0.dtype))


@frozen
class OnlySingle(Cosine):
    """``.float()`` for safety."""

    def corrupt(self, x0, t, *, rng, end=None):
        return _corrupt(self, x0.float(), t, rng.normal(x0.float()))


@frozen
class InPlace(Cosine):
    """The input's memory is used again for the output."""

    def corrupt(self, x0, t, *, rng, end=None):
        noisy = _corrupt(self, x0, t, rng.normal(promote(x0)))
        return attrs.evolve(noisy, x_t=promote(x0).copy_(noisy.x_t))


@frozen
class Viewed(Cosine):
    """``view`` needs a contiguous input."""

    def corrupt(self, x0, t, *, rng, end=None):
        flat = x0.view(-1).view(x0.shape)
        return _corrupt(self, flat, t, rng.normal(promote(flat)))


@frozen
class OwnBroadcast(Cosine):
    """Right in its results, but times of a wrong batch size end in torch's own error."""

    def corrupt(self, x0, t, *, rng, end=None):
        x, eps = promote(x0), rng.normal(promote(x0))
        alpha, sigma = (w.to(x.dtype).view(-1, *[1] * (x.ndim - 1)) for w in self.scalars(t))
        return Corruption(alpha * x + sigma * eps, x0, t, noise=eps)


# --- samplers


@frozen
class Multistep(Sampler):
    """Right: DPM-Solver++(2M), second order, with its history in the carry."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    order: ClassVar[int | None] = 2

    steps: int = setting(20, "grid points", ge=1)

    def step(self, system, carry, t, s, rng):
        process, p = system.process, system.denoise(carry.x, t, carry.cond, s=s)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = process.scalars(t), process.scalars(s)
        h = (process.log_snr(s) - process.log_snr(t)) / 2
        before = self.recall(carry)
        x0 = p.x0
        if before is not None and self.extrapolates(sigma_s):
            weight = h / (2 * before[0])
            x0 = combine(1 + weight, x0, -weight, before[1])
        x = self.move(carry.x, x0, (alpha_t, sigma_t), (alpha_s, sigma_s), h)
        info = StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=p.nfe)
        return attrs.evolve(carry, x=x, n=carry.n + 1, memory=self.remember(h, p.x0)), info

    def move(self, x, x0, at_t, at_s, h):
        return combine(at_s[1] / at_t[1], x, -at_s[0] * torch.expm1(-h), x0)

    def extrapolates(self, sigma_s):
        return sigma_s > 0

    def recall(self, carry):
        return carry.memory.get("before")

    def remember(self, h, x0):
        return {"before": (h, x0)}


@frozen
class AlphaOfTheWrongTime(Multistep):
    """alpha_t for alpha_s: still consistent, but of first order."""

    def move(self, x, x0, at_t, at_s, h):
        alpha = at_t[0] if at_s[1] > 0 else at_s[0]
        return combine(at_s[1] / at_t[1], x, -alpha * torch.expm1(-h), x0)


@frozen
class HistoryOnTheClass(Multistep):
    """The previous prediction is kept on the solver, and forgotten at the first step."""

    history: ClassVar[list[Any]] = []

    def recall(self, carry):
        if carry.n == 0:
            self.history.clear()
        return self.history[-1] if self.history else None

    def remember(self, h, x0):
        self.history.append((h, x0))
        return {}


@frozen
class NoLowerOrderAtTheEnd(Multistep):
    """The last step extrapolates too, where the log-SNR it goes to is infinite."""

    def extrapolates(self, sigma_s):
        return True


@frozen
class Euler(Sampler):
    """Right: ``x_s = alpha_s x0 + sigma_s eps``; faults change how x is read and written."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    order: ClassVar[int | None] = 1

    steps: int = setting(12, "grid points", ge=1)

    def step(self, system, carry, t, s, rng):
        x_t = self.read(carry.x)
        p = system.denoise(x_t, t, carry.cond, s=s)
        alpha, sigma = system.process.scalars(s)
        x = self.write(carry.x, combine(alpha, p.x0, sigma, p.eps), rng)
        return carry.advance(x), StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=p.nfe)

    def read(self, x):
        return x

    def write(self, x_t, x_s, rng):
        return x_s


@frozen
class NoiseTimesZero(Euler):
    """eta = 0 multiplies noise that is drawn all the same."""

    eta: float = setting(0.0, "how much noise", ge=0)

    def write(self, x_t, x_s, rng):
        return x_s + self.eta * rng.at("noise").normal(x_s)


@frozen
class SamplerInPlace(Euler):
    """The new state is written over the old one."""

    def write(self, x_t, x_s, rng):
        return x_t.copy_(x_s) if x_t.dtype == x_s.dtype else x_s


@frozen
class SamplerView(Euler):
    """``view`` needs a contiguous start."""

    def read(self, x):
        return x.view(-1).view(x.shape)


@frozen
class SamplerSingle(Euler):
    """Everything is cast to float32."""

    def read(self, x):
        return x.float()


@frozen
class SamplerHalf(Euler):
    """The state goes back to the dtype that it came in."""

    def write(self, x_t, x_s, rng):
        return x_s.to(x_t.dtype)


def _fit(w: Tensor, x: Tensor) -> Tensor:
    """Broadcast if torch can, else by rows."""
    try:
        torch.broadcast_shapes(w.shape, x.shape)
    except RuntimeError:
        return w[:, None]
    return w


@frozen
class FitsIfItCan(Euler):
    """Direction times length, a (batch,) factor that meets the columns wherever there are as many."""

    def write(self, x_t, x_s, rng):
        length = x_s.norm(dim=1)
        return x_s / length[:, None] * _fit(length, x_s)


@frozen
class Degrees(Euler):
    """A converter turns degrees into radians, once more at each reading of the spec."""

    angle: float = attrs.field(default=0.0, converter=math.radians, metadata={"doc": "an angle in degrees"})


@frozen
class AnySetting(Euler):
    """A setting of any type, which fails deep inside with whatever comes."""

    rho: Any = setting(7.0, "the grid's exponent")

    def __attrs_post_init__(self):
        self.rho + 1


@frozen
class Ancestral(Sampler):
    """Right: a draw from the posterior at each step."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    steps: int = setting(12, "grid points", ge=1)

    def step(self, system, carry, t, s, rng):
        p = system.denoise(carry.x, t, carry.cond, s=s)
        law = self.law(system.process.posterior(carry.x, p.x0, t, s))
        noisy = bool(s > 0)
        x = self.draw(law, rng.at("noise")) if noisy else law.mean
        return carry.advance(x), StepInfo(
            x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=p.nfe, transition=law if noisy else None
        )

    def law(self, law):
        return law

    def draw(self, law, rng):
        return law.sample(rng)


@frozen
class VarianceForDeviation(Ancestral):
    """A variance is passed where a standard deviation is expected."""

    def law(self, law):
        return Normal(law.mean, law.std**2)


@frozen
class SamplerOneGenerator(Ancestral):
    """The noise of the whole batch comes from one generator."""

    def draw(self, law, rng):
        generator = torch.Generator().manual_seed(rng.seed())
        return law.mean + law.std * torch.randn(law.mean.shape, generator=generator).to(law.mean.dtype)


# --- backbones


class _Vectors(Backbone):
    """A small network for vectors with labels; faults change what it does to its input."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})
    dim, width, classes = 3, 8, 3

    def __attrs_post_init__(self) -> None:
        self.first, self.last = nn.Linear(self.dim, self.width), nn.Linear(self.width, self.dim)
        self.widen = nn.Linear(1, self.width)
        self.blocks = nn.ModuleDict({"main": nn.Linear(self.width, self.width)})
        self.label = nn.Embedding(self.classes + 1, self.width)
        self.build()

    @property
    def shape(self):
        return (self.dim,)

    def build(self) -> None: ...

    def check(self, cond: Condition) -> None:
        check_labels(cond, self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        if x.shape[1:] != (self.dim,):
            raise InvalidInput(f"expected inputs (batch, {self.dim}), got {tuple(x.shape)}")
        return self.compute(self.read(x), c_noise, cond)

    def read(self, x: Tensor) -> Tensor:
        return x

    def compute(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        null = torch.full((len(x),), self.classes)
        at = torch.where(cond.present("label"), cond["label"], null) if "label" in cond else null
        level = self.widen(self.features_of(c_noise, x.dtype)[:, None])
        h = self.first(x) + level + self.label(at)
        return self.last(torch.relu(self.run("main", torch.relu(h))))

    def features_of(self, c_noise: Tensor, dtype: torch.dtype) -> Tensor:
        return c_noise.to(dtype)


@module
class Net(_Vectors):
    """Right."""


@module
class NetInPlace(_Vectors):
    """The input is scaled in place."""

    def read(self, x):
        return x.mul_(0.5)


@module
class NetView(_Vectors):
    """``view`` needs a contiguous input."""

    def read(self, x):
        return x.view(-1).view(x.shape)


@module
class NetCalibrated(_Vectors):
    """A scale that is filled after construction and not saved."""

    def build(self):
        self.register_buffer("scale", torch.ones(self.dim), persistent=False)

    def read(self, x):
        return x * self.scale


@module
class NetHalf(_Vectors):
    """The noise level's features stay in float32 where the network is in half precision."""

    def features_of(self, c_noise, dtype):
        return torch.cos(c_noise)


@module
class NetSingle(_Vectors):
    """The noise level's features are made in float32 at the most."""

    def features_of(self, c_noise, dtype):
        return torch.cos(c_noise.float()).to(dtype if dtype.itemsize < 4 else torch.float32)


@module
class NetUnchecked(_Vectors):
    """A wrong width ends in torch's own words."""

    def forward(self, x, c_noise, cond):
        return self.compute(x, c_noise, cond)


RIGHT = [Circle, Cosine, Multistep, Euler, Ancestral, Net]
FAULTS = {
    "order of convergence": (AlphaOfTheWrongTime, "order", "declares order 2, converges with"),
    "wrong marginals": (VarianceForDeviation, "marginals", "differ from the exact mixture"),
    "wrong marginals of a process": (PosteriorWithVariance, "marginals", "posterior from t = "),
    "drift off by two": (TwiceTheDrift, "sde", "drift at t = "),
    "wrong derivative": (WrongDerivative, "derivative", "central differences give"),
    "NaN at t = 0": (NanAtZero, "endpoints", "at t = 0 alpha is nan"),
    "NaN at t = 1": (NanAtOne, "endpoints", "at t = 1 alpha is 0.0 and sigma is nan"),
    "NaN in a sampler": (NoLowerOrderAtTheEnd, "endpoints", "on Circle gives NaN"),
    "batch neighbours": (SamplerOneGenerator, "batch-invariance", "they differ by"),
    "batch neighbours in a process": (OneGeneratorForAll, "batch-invariance", "differ from the same rows alone"),
    "state between two samples": (HistoryOnTheClass, "interleaving", "interleaved and alone"),
    "noise drawn when unused": (NoiseTimesZero, "noise-unused", "which changed nothing"),
    "B == D": (TimesOnTheRight, "broadcast", "broadcast against columns"),
    "B == D in a sampler": (FitsIfItCan, "broadcast", "taken for columns"),
    "half precision": (HalfPrecision, "half", "torch.float16 in gave torch.float16 out"),
    "half precision in a sampler": (SamplerHalf, "half", "torch.float16 in gave torch.float16 out"),
    "half precision in a network": (NetHalf, "half", "dtype"),
    "float64": (OnlySingle, "float64", "torch.float64 in gave torch.float32 out"),
    "float64 in a sampler": (SamplerSingle, "float64", "float64 in gave torch.float32 out"),
    "float64 in a network": (NetSingle, "float64", "dtype"),
    "input mutated": (InPlace, "purity", "changed x0 in place"),
    "input mutated by a sampler": (SamplerInPlace, "purity", "changed in place"),
    "input mutated by a network": (NetInPlace, "purity", "x was changed in place"),
    "non-contiguous input": (Viewed, "contiguity", "view size is not compatible"),
    "non-contiguous input of a sampler": (SamplerView, "contiguity", "view size is not compatible"),
    "non-contiguous input of a network": (NetView, "contiguity", "view size is not compatible"),
    "save and load": (NetCalibrated, "saved", "buffers must be persistent"),
    "save and load of settings": (Degrees, "round-trip", "angle"),
    "unhelpful error": (NetUnchecked, "bad-input", "mat1 and mat2"),
    "unhelpful error of a process": (OwnBroadcast, "bad-input", "(2,)"),
    "unhelpful error on a setting": (AnySetting, "refuses", "rho"),
}


@pytest.mark.parametrize("cls", RIGHT)
def test_what_is_right_passes(cls):
    assert {r.check: r.reason for r in check(cls) if r.status not in ("passed", "exempt")} == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_exactly_its_check(fault):
    cls, name, words = FAULTS[fault]
    results = check(cls, **({"example": {"angle": 90.0}} if cls is Degrees else {}))
    failed = {r.check: r.reason for r in results if r.status == "failed"}
    assert set(failed) == {name}, failed
    assert words in failed[name]
    assert all(f"says nothing while {name!r} fails" in r.reason for r in results if r.status == "not run")
