"""For every rule of the kit something broken that fails it, and something right that does not."""

import math
import runpy
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import torch
from torch import nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.law import Law, Normal, Point
from suffuse.contracts.model import Denoiser, Generator, Latent, Parameterization, Scaling
from suffuse.contracts.network import Adapter, Backbone, Codec, Critic, Embedding, Encoder, check_labels
from suffuse.contracts.objective import Coupling, Loss, Objective, Times, Weighting
from suffuse.contracts.operator import LinearOperator, Noise, Svd, SvdOperator
from suffuse.contracts.part import module, setting
from suffuse.contracts.prediction import Mean
from suffuse.contracts.process import Bridge, Corruption, Degradation, Process, as_time
from suffuse.contracts.reward import Reward
from suffuse.contracts.sampler import Grid, Sampler, StepInfo, Terminal
from suffuse.contracts.space import Euclidean, Space
from suffuse.contracts.target import Target
from suffuse.contracts.task import Claim, Dataset, Example, Metric, Result, Task
from suffuse.errors import InvalidInput
from suffuse.loading import Loaded, Outcome
from suffuse.records import Component, Origin, Plugin
from suffuse.registry import Registry
from suffuse.state import combine, promote
from suffuse.testing import check
from suffuse.testing.checks import ALL, BUILDS_ON, BY_KIND
from suffuse.testing.stand_ins import Circle, Reverse, Shuffle

frozen = attrs.frozen(kw_only=True)
GONE = Path("no/such/folder")
RIGHT: list[tuple[type, dict[str, Any]]] = []
BROKEN: list[tuple[type, str, dict[str, Any]]] = []


def right(**record):
    """A part that passes everything."""

    def note(cls):
        RIGHT.append((cls, record))
        return cls

    return note


def breaks(rule, **record):
    """A part that fails this rule, and no other."""

    def note(cls):
        BROKEN.append((cls, rule, record))
        return cls

    return note


# --- every part


@breaks("declares", needs={"flat"})
@frozen
class Undeclared(Circle):
    """Its manifest asks for what the class does not."""


@breaks("documented")
@frozen
class Undocumented(Circle):
    """A setting without a word."""

    sharpness: float = 1.0


class Unmade(Circle):
    """No attrs class of its own."""


BROKEN.append((Unmade, "resolves", {}))


@breaks("round-trip", example={"angle": 90.0})
@frozen
class Converted(Circle):
    """Converted again at each reading."""

    angle: float = attrs.field(default=0.0, converter=lambda v: v / 2, metadata={"doc": "an angle"})


@breaks("refuses")
@frozen
class Anything(Circle):
    """A setting that takes what it should not."""

    rho: Any = setting(7.0, "an exponent")


# --- processes, parameterizations, grids


@breaks("inverse")
@frozen
class WrongInverse(Circle):
    """The inverse of the SNR, not of its logarithm's half."""

    def time(self, log_snr):
        return torch.atan(torch.exp(-as_time(log_snr))) * 2 / torch.pi


@breaks("replay")
@frozen
class GlobalNoise(Circle):
    """torch's own generator."""

    def corrupt(self, x0, t, *, rng, end=None):
        noisy = Circle.corrupt(self, x0, t, rng=rng)
        k, eps = self.kernel(as_time(t)), torch.randn_like(promote(x0))
        return attrs.evolve(noisy, x_t=combine(k.alpha, x0, k.sigma, eps), noise=eps)


@breaks("rates", example={"symbols": 3})
@frozen
class Hasty(Shuffle):
    """Rates a tenth too fast."""

    def rates(self, x_t, t, prediction):
        return 1.1 * Shuffle.rates(self, x_t, t, prediction)


@breaks("marginals", example={"symbols": 3})
@frozen
class WrongRenoise(Shuffle):
    """The marginal's share in the place of the transition's."""

    def renoise(self, x_s, s, t, *, rng):
        return Shuffle.renoise(self, x_s, torch.zeros_like(t), t, rng=rng)


@breaks("endpoints", example={"symbols": 3})
@frozen
class Reluctant(Shuffle):
    """It starts from the first symbol, which the data never end at."""

    def prior(self, like, cond=None, *, t=1.0):
        return Point(torch.zeros_like(like))


@breaks("marginals", needs=Reverse.needs)
@frozen
class Colder(Reverse):
    """Logits at half the temperature."""

    def step(self, system, carry, t, s, rng):
        p = system.denoise(carry.x, t, carry.cond, s=s, rng=rng)
        law = system.process.posterior(carry.x, (2 * p.logits).softmax(-1), t, s)
        x = law.sample(rng.at("step"))
        return carry.advance(x), StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=1, transition=law)


@right()
@frozen
class Velocity(Parameterization):
    """v."""

    def mix(self, process, t):
        alpha, sigma = process.scalars(t)
        return -sigma, alpha

    def scaling(self, process, t):
        return Scaling(1.0, t)


@breaks("reading")
@frozen
class SignOfV(Velocity):
    """x0 - eps at the wrong noise level: nothing can be read off x_t itself."""

    def mix(self, process, t):
        alpha, sigma = process.scalars(t)
        return alpha, sigma * (1 + 1e-6)


@breaks("endpoints")
@frozen
class NoNoiseLevel(Velocity):
    """The network is told minus infinity where sampling starts."""

    def scaling(self, process, t):
        return Scaling(1.0, torch.log(1 - t))


@right()
@frozen
class Linear(Grid):
    """Even steps."""

    def times(self, process, steps):
        return 1 - torch.arange(steps, dtype=torch.float64) / steps


@breaks("grid")
@frozen
class WithZero(Linear):
    """It ends at 0, which is the terminal's."""

    def times(self, process, steps):
        return torch.linspace(1, 0, steps, dtype=torch.float64)


@breaks("grid")
@frozen
class Twice(Terminal):
    """0 twice."""

    def close(self, times):
        return torch.cat([times, times.new_zeros(2)])


@breaks("last")
@frozen
class Silent(Terminal):
    """One more evaluation that it does not count."""

    def close(self, times):
        return torch.cat([times, times.new_zeros(1)])

    def last(self, step):
        def twice(system, carry, t, s, rng):
            system.denoise(carry.x, t, carry.cond)
            return step(system, carry, t, s, rng)

        return twice


# --- samplers and guidance


@frozen
class Free(Sampler):
    """A first-order step of any kind."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    steps: int = setting(12, "grid points", ge=1)

    def step(self, system, carry, t, s, rng):
        p = system.denoise(carry.x, t, carry.cond)
        alpha, sigma = system.process.scalars(s)
        x = self.finish(combine(alpha, p.x0, sigma, p.eps), s, rng)
        info = StepInfo(x_t=carry.x, x_s=x, t=t, s=s, prediction=p, nfe=p.nfe)
        return carry.advance(x), self.tell(info, alpha, sigma)

    def finish(self, x, s, rng):
        return x

    def tell(self, info, alpha, sigma):
        return info


@breaks("replay")
@frozen
class GlobalSampler(Free):
    """torch's own generator."""

    def finish(self, x, s, rng):
        return x + 1e-3 * torch.randn_like(x)


@breaks("nfe")
@frozen
class Free0(Free):
    """Its evaluations cost nothing."""

    def tell(self, info, alpha, sigma):
        return attrs.evolve(info, nfe=0)


@breaks("gradients")
@frozen
class Detached(Free):
    """Gradients are switched off inside."""

    def finish(self, x, s, rng):
        return x.detach()


@breaks("transition")
@frozen
class OtherLaw(Free):
    """A law that the state was not drawn from."""

    def tell(self, info, alpha, sigma):
        return attrs.evolve(info, transition=Normal(info.x_s + 1.0, torch.tensor(0.01)))


@breaks("bad-input")
@frozen
class NoSteps(Sampler):
    """Any number of steps."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    steps: int = setting(12, "grid points")
    step = Free.step
    finish = Free.finish
    tell = Free.tell


@right()
@frozen
class Scaled(Guidance):
    """x0 is scaled."""

    needs: ClassVar[frozenset[str]] = frozenset({"mean"})

    scale: float = setting(1.5, "1 is off")

    def denoiser(self, inner, system):
        def denoise(x_t, t, cond, *, s=None, rng=None):
            p = inner(x_t, t, cond, s=s, rng=rng)
            return p.with_x0(combine(self.factor(), p.x0, 0.0, p.x0))

        return denoise

    def factor(self):
        return self.scale


@breaks("off")
@frozen
class OffAtZero(Scaled):
    """Its scale of 1 is one too many."""

    def factor(self):
        return 1 + self.scale


@breaks("acts")
@frozen
class Idle(Scaled):
    """Nothing."""

    def factor(self):
        return 1.0


# --- networks


class _Vectors(Backbone):
    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})
    shape = (3,)

    def __attrs_post_init__(self) -> None:
        self.first, self.last, self.level = nn.Linear(3, 8), nn.Linear(8, 3), nn.Linear(1, 8)
        self.blocks = nn.ModuleDict({"main": nn.Linear(8, 8)})
        self.label = nn.Embedding(4, 8)

    def check(self, cond):
        check_labels(cond, 3)

    def forward(self, x, c_noise, cond):
        if x.shape[1:] != (3,):
            raise InvalidInput(f"expected inputs (batch, 3), got {tuple(x.shape)}")
        h = torch.relu(self.first(x) + self.embed(c_noise, cond))
        return self.last(torch.relu(self.middle(self.between(h))))

    def embed(self, c_noise, cond):
        null = torch.full((len(c_noise),), 3)
        at = torch.where(cond.present("label"), cond["label"], null) if "label" in cond else null
        return self.level(c_noise[:, None].to(self.level.weight.dtype)) + self.label(at)

    def middle(self, h):
        return self.run("main", h)

    def between(self, h):
        return h


@breaks("forward")
@module
class DeafNet(_Vectors):
    """The noise level has no effect."""

    def embed(self, c_noise, cond):
        return _Vectors.embed(self, 0 * c_noise, cond)


@breaks("replay")
@module
class AlwaysDropout(_Vectors):
    """Dropout in evaluation too."""

    def between(self, h):
        return torch.nn.functional.dropout(h, 0.5)


@breaks("batch-invariance")
@module
class BatchNormed(_Vectors):
    """Statistics of the batch in evaluation too."""

    def between(self, h):
        return h - h.mean(0)


@breaks("broadcast")
@module
class Squeezed(_Vectors):
    """A (batch,) factor meets the columns where there are as many."""

    def between(self, h):
        length = h.norm(dim=1)
        return h * (length if len(length) == h.shape[1] else length[:, None])


@breaks("conditions")
@module
class NoNull(_Vectors):
    """A dropped label still acts."""

    def embed(self, c_noise, cond):
        at = cond["label"] if "label" in cond else torch.full((len(c_noise),), 3)
        return self.level(c_noise[:, None].to(self.level.weight.dtype)) + self.label(at)


@breaks("blocks")
@module
class DirectCall(_Vectors):
    """The block is called past ``run``."""

    def middle(self, h):
        return self.blocks["main"](h)


@breaks("trains")
@module
class Unused(_Vectors):
    """A layer that nothing uses."""

    def __attrs_post_init__(self):
        _Vectors.__attrs_post_init__(self)
        self.more = nn.Linear(8, 8)


@breaks("registered")
@module
class PlainTensor(_Vectors):
    """A tensor that is no buffer."""

    def __attrs_post_init__(self):
        _Vectors.__attrs_post_init__(self)
        self.scale = torch.ones(8)

    def between(self, h):
        return h * self.scale.to(h)


@breaks("inverse")
@frozen
class HalfCodec(Codec):
    """Decodes to half of what was encoded."""

    def encode(self, data):
        return data

    def decode(self, state):
        return state / 2


class _Pooling(Encoder):
    def __attrs_post_init__(self):
        self.layer = nn.Linear(4, 2)

    def forward(self, data):
        return Embedding(self.layer(self.pool(data)))

    def pool(self, data):
        return data


@right(shape=(4,))
@module
class Features(_Pooling):
    """Right."""


@breaks("output", shape=(4,))
@module
class Centred(_Pooling):
    """The batch's mean is taken out."""

    def pool(self, data):
        return data - data.mean(0)


# --- models


class _Zero(Denoiser):
    provides: ClassVar[frozenset[str]] = frozenset({"mean"})

    def forward(self, x_t, t, cond, *, process, s=None, rng=None):
        x = promote(x_t)
        return Mean(value=self.value(x), x_t=x, t=as_time(t), process=process, mix=(1.0, 0.0))

    def value(self, x):
        return torch.tanh(x)


@right(shape=(3,))
@module
class Tanh(_Zero):
    """Right."""


@breaks("answers", shape=(3,))
@module
class Whitened(_Zero):
    """The batch's mean is taken out."""

    def value(self, x):
        return x - x.mean(0)


@right()
@frozen
class Gauss(Latent):
    """Normal latents."""

    def law(self, n, *, dtype, device):
        return Normal(torch.zeros(n, 2, dtype=dtype, device=device), torch.tensor(1.0))


@frozen
class _Batchwise(Normal):
    def sample(self, rng):
        return torch.randn(self.mean.shape, generator=torch.Generator().manual_seed(rng.seed()))


@breaks("law")
@frozen
class OneSeed(Latent):
    """One generator for the batch."""

    def law(self, n, *, dtype, device):
        return _Batchwise(mean=torch.zeros(n, 2), std=torch.tensor(1.0))


@breaks("density")
@frozen
class Narrow(Latent):
    """The density is that of another standard deviation."""

    def law(self, n, *, dtype, device):
        return _Narrow(mean=torch.zeros(n, 2, dtype=dtype, device=device), std=1.0)


class _Narrow(Normal):
    def log_prob(self, x):
        return Normal(self.mean, 0.9).log_prob(x)


class _Coins(Law):
    def __init__(self, n, dtype, p):
        self.like, self.p = torch.zeros(n, 2, dtype=dtype), p

    def sample(self, rng):
        return (rng.uniform(self.like) < 0.3).to(self.like.dtype)

    def log_prob(self, x):
        return torch.where(x > 0, self.p, 1 - self.p).log().sum(1)


@right()
@frozen
class Coins(Latent):
    """Two tosses: atoms instead of a density."""

    p: float = setting(0.3, "the chance of a head", gt=0, lt=1)

    def law(self, n, *, dtype, device):
        return _Coins(n, dtype, self.p)


BROKEN.append((Coins, "density", {"example": {"p": 0.32}}))


class _Affine(Generator):
    def __attrs_post_init__(self):
        self.latent = Gauss()
        self.layer = nn.Linear(2, 2)
        self.labels = nn.Embedding(4, 2)

    def check(self, cond):
        check_labels(cond, 3)

    def forward(self, z, cond, *, rng=None):
        null = torch.full((len(z),), 3)
        at = torch.where(cond.present("label"), cond["label"], null) if "label" in cond else null
        return self.layer(self.norm(z)) + self.labels(at)

    def norm(self, z):
        return z

    def inverse(self, x, cond):
        null = torch.full((len(x),), 3)
        at = torch.where(cond.present("label"), cond["label"], null) if "label" in cond else null
        z = torch.linalg.solve(self.layer.weight, (x - self.labels(at) - self.layer.bias).T).T
        return z, self.log_det().expand(len(x))

    def log_det(self):
        return -self.layer.weight.slogdet().logabsdet


@right()
@module
class Affine(_Affine):
    """Right."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})


@breaks("samples")
@module
class Normed(_Affine):
    """Latents are normalised over the batch."""

    def norm(self, z):
        return (z - z.mean(0)) / z.std(0) if len(z) > 1 else z


@breaks("conditions")
@module
class Labelled(_Affine):
    """Labels are taken, but it does not say so: those who ask are not refused."""


@breaks("inverse")
@module
class Volume(_Affine):
    """The determinant of the map instead of its inverse's."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    def log_det(self):
        return self.layer.weight.slogdet().logabsdet


@breaks("learns")
@module
class Severed(_Affine):
    """The latents are detached."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    def norm(self, z):
        return z.detach()


@breaks("saved")
@module
class Forgets(_Affine):
    """A random buffer that is not saved."""

    provides: ClassVar[frozenset[str]] = frozenset({"conditional"})

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.register_buffer("shift", torch.randn(2), persistent=False)

    def norm(self, z):
        return z + self.shift

    def inverse(self, x, cond):
        z, log_det = super().inverse(x, cond)
        return z - self.shift, log_det


class _Score(Critic):
    def __attrs_post_init__(self):
        self.layer = nn.Linear(3, 5)
        self.last = nn.Linear(5, 1)

    def forward(self, x, cond):
        return self.last(torch.tanh(self.layer(self.look(x))))[:, 0]

    def look(self, x):
        return x


@right(shape=(3,))
@module
class Score(_Score):
    """Right."""


@breaks("scores", shape=(3,))
@module
class Crowd(_Score):
    """The batch's mean is taken out."""

    def look(self, x):
        return x - x.mean(0)


@breaks("conditions", shape=(3,))
@module
class TakesLabels(_Score):
    """Any condition is taken, none is used."""

    def check(self, cond):
        pass


@breaks("penalised", shape=(3,))
@module
class OnlyOnce(_Score):
    """Its gradient in the sample is a constant."""

    def look(self, x):
        return x.detach() + _Once.apply(x)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.zeros_like(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope


@breaks("saved", shape=(3,))
@module
class Tinted(_Score):
    """A random buffer that is not saved."""

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.register_buffer("shift", torch.randn(3), persistent=False)

    def look(self, x):
        return x + self.shift


class _Bias(Adapter):
    @contextmanager
    def attach(self, network):
        extra = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        hook = network.register_forward_hook(lambda _, __, out: out + extra)
        yield {"bias": extra}
        self.detach(hook)

    def detach(self, hook):
        hook.remove()


@right()
@frozen
class Bias(_Bias):
    """Right."""


@breaks("reversible")
@frozen
class Stays(_Bias):
    """The hook is left behind."""

    def detach(self, hook):
        pass


# --- training


@frozen
class _Regression(Objective):
    def loss(self, player, batch, system, state, rng):
        x = self.take(batch)
        t = torch.full((len(x),), 0.5, dtype=torch.float64)
        corrupted = system.process.corrupt(x, t, rng=rng)
        error = system.plain(corrupted.x_t, t, batch.cond).eps - corrupted.noise
        return Loss(self.reduce(error.square().sum(1)))

    def take(self, batch):
        return batch.x

    def reduce(self, per_sample):
        return per_sample


@right()
@frozen
class Regression(_Regression):
    """Right."""


@breaks("loss")
@frozen
class Scalar(_Regression):
    """No gradient."""

    def reduce(self, per_sample):
        return per_sample.detach().requires_grad_()


@breaks("replay")
@frozen
class GlobalLoss(_Regression):
    """torch's own generator."""

    def take(self, batch):
        return batch.x + torch.randn_like(batch.x)


@breaks("batch-invariance")
@frozen
class Averaged(_Regression):
    """Reduced already."""

    def reduce(self, per_sample):
        return per_sample.mean().expand(len(per_sample))


@breaks("purity")
@frozen
class Scales(_Regression):
    """The batch is normalised in place."""

    def take(self, batch):
        return batch.x.mul_(0.5)


@breaks("times")
@frozen
class ZeroTimes(Times):
    """0 is drawn too."""

    def draw(self, process, n, rng):
        t = rng.uniform(torch.empty(n, dtype=torch.float64)).mul(20).floor() / 20
        return t, torch.ones_like(t)


@right(shape=(4,))
@frozen
class Doubled(SvdOperator):
    """The first two elements, doubled; pseudo-inverse and prox follow from the decomposition."""

    def A(self, x):
        return x[:, :2] * 2

    def measure(self, x, rng):
        y = self.A(x)
        return y + 0.1 * rng.normal(y)

    def log_likelihood(self, y, x):
        return -(y - self.A(x)).square().flatten(1).sum(1) / 0.02

    def A_adjoint(self, y):
        return self.fill(y) * 2

    def fill(self, y):
        return torch.cat([y, torch.zeros_like(y)], 1)

    def svd(self, x):
        def same(y):
            return y

        return Svd(s=x.new_full((2,), 2.0), V=self.fill, V_adjoint=lambda x: x[:, :2], U=same, U_adjoint=same)


@breaks("svd", shape=(4,))
@frozen
class Unsorted(Doubled):
    """U and V do not belong together, and what is made of them is overridden."""

    def svd(self, x):
        good = super().svd(x)
        return attrs.evolve(good, U=lambda z: z.flip(1), U_adjoint=lambda y: y.flip(1))

    def A_dagger(self, y):
        return self.fill(y) / 2

    def prox(self, x, y, gamma):
        g = gamma[:, None] if isinstance(gamma, torch.Tensor) else gamma
        return x + self.fill(2 * g * (y - 2 * x[:, :2]) / (1 + 4 * g))


@right()
@frozen
class White(Noise):
    """Normal, with standard deviation 1/2."""

    def sample(self, clean, rng):
        return clean + 0.5 * rng.normal(clean)

    def log_prob(self, y, clean):
        return -2 * (y - clean) ** 2

    def variance(self, y):
        return 0.25


@breaks("law")
@frozen
class Louder(White):
    """The draws have twice the variance that the likelihood says."""

    def sample(self, clean, rng):
        return clean + 0.5**0.5 * rng.normal(clean)


@breaks("weighting")
@frozen
class Negative(Weighting):
    """log-SNR as a weight."""

    def weight(self, process, t, mix):
        return process.log_snr(t)


@right()
@frozen
class Shuffle(Coupling):
    """A permutation."""

    def pair(self, x0, x1, rng):
        at = torch.arange(len(x0))
        return at, self.other(rng.pool().permutation(len(x1))[0])

    def other(self, at):
        return at


@breaks("indices")
@frozen
class OneBased(Shuffle):
    """Counted from 1."""

    def other(self, at):
        return at + 1


@frozen
class _Rows(Dataset):
    def __len__(self):
        return 8

    def rows(self, index, rng):
        if bool((index >= len(self)).any()):
            raise InvalidInput(f"expected rows below {len(self)}, got {index.tolist()}")
        return Example(x=self.look(index.double()[:, None]), cond=Condition())

    def look(self, x):
        return x


@right()
@frozen
class Rows(_Rows):
    """Right."""


@breaks("dataset")
@frozen
class Sorted(_Rows):
    """In the order of the file, whatever the index."""

    def look(self, x):
        return x.sort(0).values


@frozen
class _Says(Claim):
    tier = "exact"
    statement = "one and one are two"

    def measure(self, seed, *, sabotage=False):
        raise NotImplementedError


@right()
@frozen
class Says(_Says):
    """Right."""


@breaks("stated")
@frozen
class OneSeedClaim(_Says):
    """A claim over one seed."""

    tier = "claim"
    seeds = 1


# --- problems


@breaks("noise")
@frozen
class BatchSpace(Euclidean):
    """The batch's mean is taken out of the noise."""

    def noise(self, like, rng):
        z = Space.noise(self, like, rng)
        return z - z.mean(0)


@breaks("moves")
@frozen
class Backwards(Euclidean):
    """log leads from y to x."""

    def log(self, x, y):
        return combine(1.0, x, -1.0, y)


@breaks("bad-input")
@frozen
class TakesAll(Euclidean):
    """Anything is a state."""

    def check(self, x):
        pass


@breaks("linear")
@frozen
class Uphill(Circle):
    """Its score has the wrong sign."""

    def score(self, eps, t):
        return -Circle.score(self, eps, t)


@breaks("moments")
@frozen
class Quiet(Circle):
    """Its SDE adds half of the noise that the kernel has."""

    def diffuse(self, z, t):
        return Circle.diffuse(self, z, t) / 2


@breaks("states", beside={"space": {"use": "suffuse/euclidean", "with": {"shape": [2, 2]}}})
@frozen
class Widened(Circle):
    """Images, unlike vectors, become float64."""

    def corrupt(self, x0, t, *, rng, end=None):
        made = Circle.corrupt(self, x0, t, rng=rng, end=end)
        return made if x0.ndim == 2 else attrs.evolve(made, x_t=made.x_t.double())


BROKEN[:] = [(c, r, {"example": {"shape": [2]}} if issubclass(c, Euclidean) else d) for c, r, d in BROKEN]


@frozen
class _Half(LinearOperator):
    """Every other element is seen."""

    def A(self, x):
        return x[:, ::2] * 2

    def measure(self, x, rng):
        y = self.A(x)
        return y + 0.1 * rng.normal(y)

    def log_likelihood(self, y, x):
        return -(y - self.A(x)).square().flatten(1).sum(1) / 0.02

    def A_adjoint(self, y):
        return self.fill(y) * 2

    def A_dagger(self, y):
        return self.fill(y) / 2

    def fill(self, y):
        x = y.new_zeros(len(y), 4)
        x[:, ::2] = y
        return x

    def prox(self, x, y, gamma):
        g = gamma[:, None] if isinstance(gamma, torch.Tensor) else gamma
        seen = (x[:, ::2] + 2 * g * y) / (1 + 4 * g)
        return x + self.fill(seen - x[:, ::2])


@right(shape=(4,))
@frozen
class Half(_Half):
    """Right."""


@breaks("linear", shape=(4,))
@frozen
class DaggerForAdjoint(_Half):
    """The pseudo-inverse stands for the adjoint."""

    def A_adjoint(self, y):
        return self.A_dagger(y)


@breaks("measurement", shape=(4,))
@frozen
class WrongSign(_Half):
    """The likelihood is an energy."""

    def log_likelihood(self, y, x):
        return -_Half.log_likelihood(self, y, x)


@right()
@frozen
class Gap(Metric):
    """The distance of the means."""

    def measure(self, samples, reference):
        return {"gap": self.number(samples.x.mean() - reference.x.mean())}

    def number(self, gap):
        return abs(float(gap))


@breaks("numbers")
@frozen
class LogGap(Gap):
    """The logarithm of a negative number."""

    def number(self, gap):
        return float((-gap.abs()).log())


@right()
@frozen
class Ask(Task):
    """Takes n."""

    def run(self, system, inputs, rng):
        if set(inputs) != {"n"}:
            raise InvalidInput(f"expected n, got {sorted(inputs)}")
        return Result()


@breaks("bad-input")
@frozen
class AskNothing(Ask):
    """Ignores what it does not know."""

    def run(self, system, inputs, rng):
        return Result()


@right()
@frozen
class Well(Target):
    """One dimension, known in closed form."""

    @property
    def shape(self):
        return (1,)

    def energy(self, x):
        return (x / 2).square().sum(1) / 2

    @property
    def log_z(self):
        return math.log(2 * math.pi * 4) / 2

    def sample(self, rng, *, dtype=torch.float32):
        return self.width() * rng.at("z").normal(torch.empty(rng.size, 1, dtype=dtype))

    def width(self):
        return 2.0


@breaks("energy")
@frozen
class WrongScore(Well):
    """The gradient's sign is lost."""

    def score(self, x):
        return -Target.score(self, x)


@breaks("draws")
@frozen
class NarrowDraws(Well):
    """Draws of the standard normal."""

    def width(self):
        return 1.0


@breaks("log-z")
@frozen
class WrongConstant(Well):
    """Without 2 pi."""

    @property
    def log_z(self):
        return math.log(4) / 2


@right()
@frozen
class Near(Reward):
    """Near to the origin."""

    provides: ClassVar[frozenset[str]] = frozenset({"differentiable"})

    def value(self, data, cond):
        return -data.square().flatten(1).sum(1)


@breaks("reward")
@frozen
class AgainstTheBatch(Near):
    """Compared with the batch."""

    def value(self, data, cond):
        r = Near.value(self, data, cond)
        return r - r.mean()


# --- bridges and degradations


@right()
@frozen
class Brownian(Process, Bridge):
    """A Brownian bridge."""

    width: float = setting(1.0, "of the noise that is drawn, against that which is told")

    def between(self, x0, x1, t):
        t = as_time(t)
        return Normal(combine(1 - t, x0, t, x1), (t * (1 - t)).sqrt())

    def corrupt(self, x0, t, *, rng, end=None):
        if end is None:
            raise InvalidInput("a bridge needs its other end, got none")
        law = self.between(x0, end, t)
        x_t = Normal(law.mean, self.width * law.std).sample(rng.at("noise"))
        return Corruption(x_t, x0, as_time(t), end=end)

    def prior(self, like, cond=None, *, t=1.0):
        return None


@breaks("bridge")
@frozen
class WiderThanTold(Brownian):
    """Its draws spread by a tenth too much."""

    width: float = setting(1.1, "of the noise that is drawn, against that which is told")


@right()
@frozen
class Fading(Process, Degradation):
    """A straight line to one drawn end."""

    late: float = setting(0.0, "how far it has gone at t = 0")

    def degrade(self, x0, t, *, end=None):
        share = self.late + (1 - self.late) * as_time(t)
        return combine(1 - share, x0, share, end)

    def corrupt(self, x0, t, *, rng, end=None):
        end = rng.at("end").normal(promote(x0)) if end is None else end
        return Corruption(self.degrade(x0, t, end=end), x0, as_time(t), end=end)

    def prior(self, like, cond=None, *, t=1.0):
        return None


@breaks("degradation")
@frozen
class FadedFromTheStart(Fading):
    """D(x, 0) is not x."""

    late: float = setting(0.1, "how far it has gone at t = 0")


# --- what the tables say


@pytest.mark.parametrize(("cls", "record"), RIGHT, ids=lambda v: getattr(v, "__name__", ""))
def test_what_is_right_passes(cls, record):
    assert {r.check: r.reason for r in check(cls, **record) if r.status not in ("passed", "exempt")} == {}


@pytest.mark.parametrize(("cls", "rule", "record"), BROKEN, ids=lambda v: getattr(v, "__name__", "") or str(v)[:20])
def test_what_is_broken_fails_one_rule(cls, rule, record):
    results = check(cls, **record)
    failed = {r.check: r.reason for r in results if r.status == "failed"}
    assert set(failed) == {rule}, failed
    assert failed[rule]
    assert all(f"says nothing while {rule!r} fails" in r.reason for r in results if r.status == "not run")


def test_weights_that_are_not_there_fail_to_load(tmp_path):
    component = Component(name="gone", kind="weights", target=f"{__name__}:GONE", summary="nothing")
    origin = Origin(dist="suffuse-gone", version="1", key="gone", path="")
    plugin = Loaded(origin=origin, plugin=Plugin(paper=None), components=(component,))
    known = Registry(Outcome(plugins=(plugin,), failures=(), blocked=()))
    failed = {r.check: r.reason for r in check("gone/gone", known=known) if r.status == "failed"}
    assert set(failed) == {"load"}
    assert "suffuse.json" in failed["load"]


def test_every_rule_has_something_that_breaks_it():
    faults = runpy.run_path(str(Path(__file__).with_name("test_conformance_faults.py")))["FAULTS"]
    broken = {checks[rule] for cls, rule, _ in BROKEN if (checks := {**ALL, **BY_KIND[cls.kind]})}
    broken |= {{**ALL, **BY_KIND[cls.kind]}[rule] for cls, rule, _ in faults.values()}
    broken.add(BY_KIND["weights"]["load"])
    every = {rule: f"{kind}:{name}" for kind, rules in {"part": ALL, **BY_KIND}.items() for name, rule in rules.items()}
    assert {name for rule, name in every.items() if rule not in broken} == set()


def test_what_rules_build_on_ends_somewhere():
    def below(name, path=()):
        assert name not in path, path
        return [below(other, (*path, name)) for other in BUILDS_ON.get(name, ())]

    names = {name for rules in (ALL, *BY_KIND.values()) for name in rules}
    for name, others in BUILDS_ON.items():
        below(name)
        assert {name, *others} <= names
