"""Small parts that stand around the part under test. They belong to no plugin and no spec."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Categorical, Normal
from suffuse.contracts.model import Denoiser, Generator, Latent, Parameterization, Scaling
from suffuse.contracts.network import Backbone, Codec, check_labels
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Logits, Mix, Noise, Prediction
from suffuse.contracts.process import Corruption, Discrete, Gaussian, Jump, Kernel, Process, as_time
from suffuse.contracts.sampler import Carry, Sampler, StepInfo
from suffuse.contracts.space import Euclidean, Tokens
from suffuse.errors import InvalidInput, Unsupported
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.state import State, combine, expand
from suffuse.system import System
from suffuse.testing.mixture import GaussianMixture

__all__ = [
    "Circle",
    "Explosion",
    "FirstOrder",
    "LinearGenerator",
    "LinearNet",
    "LinearTokens",
    "NoisePrediction",
    "NormalLatent",
    "NormalNoise",
    "Reverse",
    "Shuffle",
    "three",
    "trainable_system",
]


@attrs.frozen(kw_only=True)
class Circle(Gaussian):
    """``alpha = cos(pi t / 2)``, ``sigma = sin(pi t / 2)``: variance preserving, no noise at 0, no signal at 1."""

    def kernel(self, t: Tensor) -> Kernel:
        """The point on the circle."""
        return Kernel(torch.cos(t * torch.pi / 2), torch.sin(t * torch.pi / 2))

    def time(self, log_snr: Tensor) -> Tensor:
        """``(2/pi) atan(exp(-log_snr / 2))``."""
        return torch.atan(torch.exp(-as_time(log_snr) / 2)) * 2 / torch.pi


@attrs.frozen(kw_only=True)
class Explosion(Gaussian):
    """``alpha = 1``, ``sigma = 20 t``: variance exploding, the signal never vanishes."""

    def kernel(self, t: Tensor) -> Kernel:
        """Constant and linear."""
        return Kernel(torch.ones_like(t), 20 * t)

    def time(self, log_snr: Tensor) -> Tensor:
        """``exp(-log_snr / 2) / 20``."""
        return (torch.exp(-as_time(log_snr) / 2) / 20).clamp(0, 1)


@attrs.frozen(kw_only=True)
class FirstOrder(Sampler):
    """``x_s = alpha_s x0 + sigma_s eps``: the simplest solver of the probability flow, to try guidance with."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})
    order: ClassVar[int | None] = 1

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One evaluation."""
        assert isinstance(system.process, Gaussian)
        p = system.denoise(carry.x, t, carry.cond, s=s, rng=rng)
        alpha, sigma = system.process.scalars(s)
        x = combine(alpha, p.x0, sigma, p.eps)
        return carry.advance(x), StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=p.nfe)


@attrs.frozen(kw_only=True)
class NoisePrediction(Parameterization):
    """The output is eps, the input x_t, the conditioning t."""

    def mix(self, process: Gaussian, t: Tensor) -> Mix:
        """``(0, 1)``."""
        return 0.0, 1.0

    def scaling(self, process: Gaussian, t: Tensor) -> Scaling:
        """``(1, t)``."""
        return Scaling(1.0, t)


@module
class NormalNoise(Denoiser):
    """The exact ``E[eps | x_t]`` of data that are half the unit noise of a space, with a kernel for each leaf."""

    provides: ClassVar[frozenset[str]] = frozenset({"noise"})

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Noise:
        """``sigma / (alpha^2/4 + sigma^2) x_t`` for each leaf."""
        k: Kernel = process.kernel(as_time(t))  # type: ignore[attr-defined]
        alpha, sigma = cast(dict[str, Tensor], k.alpha), cast(dict[str, Tensor], k.sigma)
        weights = {name: sigma[name] / (alpha[name] ** 2 / 4 + sigma[name] ** 2) for name in sigma}
        return Noise(value=combine(weights, x_t, 0.0, x_t), x_t=x_t, t=as_time(t), process=cast(Any, process))


@module
class LinearNet(Backbone):
    """A linear map of (x, c_noise, label) for vectors: the smallest network that trains."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    dim: int = setting(2, "the vectors' dimension", ge=1)
    classes: int = setting(0, "labels; 0 for none", ge=0)

    def __attrs_post_init__(self) -> None:
        self.blocks = nn.ModuleDict({"main": nn.Linear(self.dim + 1, self.dim)})
        self.label = nn.Embedding(self.classes + 1, self.dim)

    @property
    def shape(self) -> tuple[int, ...]:
        """One input's shape."""
        return (self.dim,)

    @property
    def gives(self) -> frozenset[str]:
        """``conditional`` where there are classes."""
        return frozenset({"conditional"} if self.classes else ())

    def check(self, cond: Condition) -> None:
        """Labels must exist."""
        check_labels(cond, self.classes)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """``W [x, c_noise] + e_label``."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise InvalidInput(f"expected inputs (batch, {self.dim}), got {tuple(x.shape)}")
        out = self.run("main", torch.cat([x, c_noise[:, None].to(x.dtype)], dim=1))
        null = torch.full((len(x),), self.classes, device=x.device)
        at = torch.where(cond.present("label"), cond["label"], null) if "label" in cond else null
        shift: Tensor = self.label(at)
        return out + shift


@attrs.frozen(kw_only=True)
class Shuffle(Discrete, Jump):
    """Uniform transitions: ``x_t`` is x_0 with probability ``alpha = 1 - 0.999 t``, else any symbol.

    Austin et al., Structured Denoising Diffusion Models in Discrete State-Spaces, 2021, arXiv:2107.03006, appendix
    A.2.1, in continuous time.
    """

    symbols: int = setting(4, "K", ge=2)

    @property
    def states(self) -> int:
        """K."""
        return self.symbols

    def corrupt(self, x0: State, t: Tensor, *, rng: Rng, end: State | None = None) -> Corruption:
        """Stream ``noise``."""
        assert isinstance(x0, Tensor)
        return Corruption(self._kept(x0, self._alpha(x0, t), rng.at("noise")), x0, t)

    def prior(self, like: State, cond: Condition | None = None, *, t: float | Tensor = 1.0) -> Categorical:
        """Uniform."""
        assert isinstance(like, Tensor)
        return Categorical(torch.zeros(*like.shape, self.symbols, dtype=torch.float64))

    def marginal(self, x0: Tensor, t: Tensor) -> Categorical:
        """``alpha x_0 + (1 - alpha)/K``."""
        return Categorical(self._blend(x0, self._alpha(x0[..., 0], t)[..., None]).log())

    def posterior(self, x_t: State, x0: State, t: Tensor, s: Tensor) -> Categorical:
        """By Bayes' rule for each x_0: ``q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0)``."""
        assert isinstance(x_t, Tensor)
        assert isinstance(x0, Tensor)
        alpha_t, alpha_s = (self._alpha(x_t, u)[..., None] for u in (t, s))
        here = nn.functional.one_hot(x_t, self.symbols).double()
        ratio = self._ratio(x_t, x0, alpha_t)
        joint = self._blend(here, alpha_t / alpha_s) * self._blend(ratio, alpha_s)
        return Categorical(joint.log())

    def renoise(self, x_s: State, s: Tensor, t: Tensor, *, rng: Rng) -> Tensor:
        """Each token is replaced with probability ``1 - alpha_t/alpha_s``."""
        assert isinstance(x_s, Tensor)
        return self._kept(x_s, self._alpha(x_s, t) / self._alpha(x_s, s), rng)

    def rates(self, x_t: Tensor, t: Tensor, prediction: Prediction) -> Tensor:
        """``0.999/(alpha K) sum_k x0_k q(y | k) / q(x_t | k)``."""
        x0, alpha = prediction.logits.softmax(-1), self._alpha(x_t, t)[..., None]
        found = 0.999 / (alpha * self.symbols) * self._blend(self._ratio(x_t, x0, alpha), alpha)
        return found * (1 - nn.functional.one_hot(x_t, self.symbols))

    def _ratio(self, x_t: Tensor, x0: Tensor, alpha: Tensor) -> Tensor:
        return x0 / self._blend(nn.functional.one_hot(x_t, self.symbols).double(), alpha).clamp_min(1e-300)

    def _blend(self, p: Tensor, alpha: Tensor) -> Tensor:
        return alpha * p + (1 - alpha) / self.symbols * p.sum(-1, keepdim=True)

    def _kept(self, x: Tensor, chance: Tensor, rng: Rng) -> Tensor:
        keep = rng.at("keep").uniform(torch.empty(x.shape, dtype=torch.float64)) < chance
        return torch.where(keep, x, rng.at("symbol").integers(0, self.symbols, *x.shape[1:]))

    @staticmethod
    def _alpha(x: Tensor, t: Tensor) -> Tensor:
        return torch.as_tensor(1 - 0.999 * expand(as_time(t), torch.empty((), dtype=torch.float64).expand(x.shape)))


@attrs.frozen(kw_only=True)
class Reverse(Sampler):
    """``x_s ~ posterior(x_t, softmax(logits))``: the simplest sampler of tokens, to try guidance with."""

    needs: ClassVar[frozenset[str]] = frozenset({"discrete", "logits"})
    provides: ClassVar[frozenset[str]] = frozenset({"stochastic"})

    def step(self, system: System, carry: Carry, t: Tensor, s: Tensor, rng: Rng) -> tuple[Carry, StepInfo]:
        """One evaluation; stream ``step``."""
        assert isinstance(system.process, Discrete)
        p = system.denoise(carry.x, t, carry.cond, s=s, rng=rng)
        law = system.process.posterior(carry.x, p.logits.softmax(-1), t, s)
        x = law.sample(rng.at("step"))
        return carry.advance(x), StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=p.nfe, transition=law)


@module
class LinearTokens(Denoiser):
    """Logits linear in a one-hot state, the time and a label: the smallest model of tokens that trains."""

    provides: ClassVar[frozenset[str]] = frozenset({"logits", "conditional"})
    needs: ClassVar[frozenset[str]] = frozenset({"discrete"})

    length: int = setting(2, "tokens of a sequence", ge=1)
    symbols: int = setting(4, "K", ge=2)
    states: int = setting(4, "S", ge=2)
    classes: int = setting(3, "labels", ge=1)

    def __attrs_post_init__(self) -> None:
        self.main = nn.Linear(self.length * self.states + 1, self.length * self.symbols)
        self.label = nn.Embedding(self.classes, self.length * self.symbols)

    def check(self, cond: Condition) -> None:
        """Labels must exist."""
        check_labels(cond, self.classes)

    def forward(
        self,
        x_t: State,
        t: Tensor,
        cond: Condition,
        *,
        process: Process,
        s: Tensor | None = None,
        rng: Rng | None = None,
    ) -> Logits:
        """``W [one-hot x_t, t] + e_label``."""
        if not isinstance(x_t, Tensor):
            raise Unsupported("takes one tensor")
        time = as_time(t).to(self.main.weight).expand(len(x_t))[:, None]
        flat = nn.functional.one_hot(x_t, self.states).to(time).flatten(1)
        out = self.main(torch.cat([flat, time], dim=1))
        if "label" in cond:
            out = out + self.label(cond["label"]) * cond.present("label")[:, None]
        return Logits(value=out.view(*x_t.shape, self.symbols), x_t=x_t, t=as_time(t))


@attrs.frozen(kw_only=True)
class NormalLatent(Latent):
    """Standard normal vectors."""

    dim: int = setting(2, "numbers in a latent", ge=1)

    def law(self, n: int, *, dtype: torch.dtype, device: torch.device | str) -> Normal:
        """``N(0, I)``."""
        return Normal(torch.zeros(n, self.dim, dtype=dtype, device=device), 1.0)


@module
class LinearGenerator(Generator):
    """A linear map of a normal latent: the smallest generator that trains."""

    latent: NormalLatent = setting(factory=NormalLatent, doc="the law of the latents")
    dim: int = setting(2, "the samples' dimension", ge=1)

    def __attrs_post_init__(self) -> None:
        self.layer = nn.Linear(self.latent.dim, self.dim)

    def forward(self, z: State, cond: Condition, *, rng: Rng | None = None) -> Tensor:
        """``W z + b``."""
        out: Tensor = self.layer(z)
        return out


@cache
def three(dim: int = 2) -> GaussianMixture:
    """Three labelled components, wide enough that a hundred steps of any solver resolve them."""
    g = torch.Generator().manual_seed(3)
    means = torch.randn(3, dim, generator=g, dtype=torch.float64) * 1.5
    return GaussianMixture(
        weights=torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        means=means,
        covariances=torch.full((3,), 0.25, dtype=torch.float64),
        labels=torch.arange(3),
    )


def trainable_system(process: Process, *, codec: Codec, dim: int = 2, classes: int = 3) -> System:
    """A system whose model trains, on vectors or on tokens as the process has it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(process, Discrete):
            k = process.symbols
            tokens = LinearTokens(length=dim, symbols=k, states=process.states, classes=classes)
            return System(model=tokens, process=process, space=Tokens(shape=(dim,), symbols=k), codec=codec)
        net = LinearNet(dim=dim, classes=classes)
    assert isinstance(process, Gaussian)
    model = Preconditioned(backbone=net, parameterization=NoisePrediction(), trained=process)
    return System(model=model, space=Euclidean(shape=(dim,)), codec=codec)
