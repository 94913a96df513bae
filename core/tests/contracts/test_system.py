"""Systems: composition, schedule swaps, sampling, and what is refused."""

import attrs
import pytest
import torch

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.law import Normal
from suffuse.contracts.model import Generator, Latent, evaluate_many
from suffuse.contracts.part import module
from suffuse.contracts.process import Process
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError, Unsupported
from suffuse.parts import AtMean, Chain, Clip, Identity, Interval, LogSnr, Range, Stop, Uniform
from suffuse.preconditioned import Preconditioned
from suffuse.system import System, parts_of
from suffuse.testing.exact import mixture_system
from suffuse.testing.stand_ins import Circle, Explosion, FirstOrder, LinearNet, NoisePrediction, three, trainable_system

F64 = torch.float64


def exact(**parts):
    parts = {"sampler": FirstOrder(steps=10), **parts}
    return mixture_system(three(), parts.pop("process", Circle()), **parts)


def test_a_wrong_combination_is_refused_when_composed():
    class Bare(Process):
        def corrupt(self, x0, t, *, rng, end=None):
            raise NotImplementedError

        def prior(self, like, cond=None, *, t=1.0):
            return None

    with pytest.raises(IncompatibleComponents, match="needs 'gaussian', which nothing here gives"):
        exact(process=Bare())


def test_the_process_of_training_is_the_default():
    system = trainable_system(Circle(), codec=Identity())
    assert system.process is system.model.trained


@pytest.mark.parametrize("process", [Circle(), Explosion()], ids=["same", "swapped"])
def test_a_schedule_is_swapped_without_retraining(process):
    """The same x_0 and eps at equal log-SNR give the same network input, so the same eps."""
    trained = Circle()
    model = trainable_system(trained, codec=Identity()).model
    t = torch.tensor(0.03, dtype=F64)
    u = trained.time(process.log_snr(t))
    x0, eps = torch.randn(2, 4, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    states = [a * x0 + s * eps for a, s in (process.scalars(t), trained.scalars(u))]
    there = model.double()(states[0], t, Condition(), process=process)
    here = model(states[1], u, Condition(), process=trained)
    torch.testing.assert_close(there.eps, here.eps, rtol=1e-9, atol=1e-12)


def test_the_wrapper_is_the_dtype_boundary():
    system = trainable_system(Circle(), codec=Identity())
    system.model.backbone.bfloat16()
    p = system.plain(torch.ones(2, 2), torch.tensor(0.5), Condition())
    assert p.value.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give n, cond, seeds or start"),
        ({"n": 0}, "at least one"),
        ({"n": 3, "cond": {"label": torch.tensor([0, 1])}}, "'n': 3, 'cond': 2"),
        ({"cond": {"label": torch.tensor([0, 3])}}, r"in \[0, 3\), got values from 0 to 3"),
        ({"cond": {"label": torch.tensor([0.0])}}, "integers"),
        ({"cond": {"text": torch.tensor([0])}}, "got \\['text'\\]"),
        ({"start": torch.ones(2, 3)}, r"shape \(2, 2\), got \(2, 3\)"),
        ({"start": torch.full((2, 2), torch.nan)}, "NaN"),
        ({"n": 2, "batch": 0}, "batch must be at least 1"),
        ({"n": 2, "times": torch.tensor([0.5])}, "at least two"),
        ({"n": 2, "seed": -1}, "seed"),
        ({"n": 2, "dtype": torch.int64}, "float"),
    ],
)
def test_bad_input_is_answered_with_what_was_expected_and_what_came(settings, message):
    with pytest.raises(InvalidInput, match=message):
        exact().sample(**settings)


def test_samples_are_named_by_seed_and_place():
    system = exact()
    x = system.sample(5, seed=3, dtype=F64)
    torch.testing.assert_close(system.sample(9, seed=3, dtype=F64)[:5], x, rtol=0, atol=1e-12)
    assert not torch.allclose(system.sample(5, seed=4, dtype=F64), x)
    some = system.sample(seeds=[7, 8], dtype=F64)
    torch.testing.assert_close(system.sample(seeds=[8], dtype=F64)[0], some[1], rtol=0, atol=1e-12)


def test_steps_can_be_watched_and_left_early():
    system, seen = exact(), []
    system.sample(2, on_step=lambda i, info: seen.append((i, float(info.t), float(info.s), info.nfe)))
    assert [s[0] for s in seen] == list(range(10))
    assert seen[0][1] == 1
    assert seen[-1][2] == 0
    first = next(iter(system.stream(2)))
    assert first[0].n == 1


def test_endings():
    full = exact(sampler=FirstOrder(steps=10))
    stopped = exact(sampler=FirstOrder(steps=10, terminal=Stop()))
    mean = exact(sampler=FirstOrder(steps=10, terminal=AtMean()))
    ends = [[(float(i.t), float(i.s)) for _, i in s.stream(2)] for s in (full, stopped, mean)]
    assert ends[0] == ends[2]
    assert ends[1] == ends[0][:-1]
    # The last step of a first-order solver to t = 0 is its data estimate.
    torch.testing.assert_close(full.sample(3, dtype=F64), mean.sample(3, dtype=F64))


def test_guidance_in_order_and_in_an_interval():
    @attrs.frozen
    class Shift(Guidance):
        by: float
        times: float = 1.0

        def denoiser(self, inner, system):
            def denoise(x_t, t, cond, *, s=None, rng=None):
                p = inner(x_t, t, cond, s=s, rng=rng)
                return p.with_x0(p.x0 * self.times + self.by)

            return denoise

    x, t = torch.ones(2, 2, dtype=F64), torch.tensor(0.5)
    plain = exact().plain(x, t, Condition()).x0
    both = exact(guidance=Chain(parts=(Shift(1.0), Shift(0.0, 2.0)))).denoise(x, t, Condition()).x0
    torch.testing.assert_close(both, (plain + 1) * 2)
    inside = exact(guidance=Interval(guidance=Shift(1.0), low=0.4, high=0.6))
    torch.testing.assert_close(inside.denoise(x, t, Condition()).x0, plain + 1)
    torch.testing.assert_close(
        inside.denoise(x, torch.tensor(0.7), Condition()).x0, exact().plain(x, torch.tensor(0.7), Condition()).x0
    )
    with pytest.raises(Unsupported, match="one side"):
        inside.denoise(x, torch.tensor([0.5, 0.9]), Condition())
    with pytest.raises(SpecError, match="low"):
        Interval(guidance=Clip(), low=0.5, high=0.4)
    with pytest.raises(SpecError, match="empty"):
        Chain(parts=())


def test_many_conditions_in_one_call():
    system = exact()
    x, t = torch.randn(4, 2, dtype=F64), torch.full((4,), 0.5, dtype=F64)
    label = Condition(label=torch.tensor([0, 1, 2, 0]))
    one, none = evaluate_many(system.plain, x, t, [label, label.drop()])
    torch.testing.assert_close(one.x0, system.plain(x, t, label).x0)
    torch.testing.assert_close(none.x0, system.plain(x, t, Condition()).x0)
    assert one.nfe == none.nfe == 1


def test_codecs_hold_the_range():
    codec = Range(low=0.0, high=16.0)
    data = torch.linspace(0, 16, 5)
    assert codec.encode(data).tolist() == [-1, -0.5, 0, 0.5, 1]
    torch.testing.assert_close(codec.decode(codec.encode(data)), data)
    assert codec.decode(torch.tensor([-3.0, 3.0])).tolist() == [0, 16]
    with pytest.raises(SpecError, match="low"):
        Range(low=1.0, high=1.0)


def test_grids():
    assert Uniform().times(Circle(), 4).tolist() == [1, 0.75, 0.5, 0.25]
    times = LogSnr(end=0.01).times(Explosion(), 9)
    steps = Explosion().log_snr(times).diff()
    torch.testing.assert_close(steps, steps[:1].expand(8))
    assert float(times[0]) == 1
    assert float(Circle().log_snr(LogSnr().times(Circle(), 5)[0])) == pytest.approx(-10)
    with pytest.raises(Unsupported, match="no decreasing grid"):
        FirstOrder(steps=1, terminal=Stop()).times(Circle())


def test_a_generator_is_a_system_without_a_process():
    @attrs.frozen(kw_only=True)
    class Plain(Latent):
        def law(self, n, *, dtype, device):
            return Normal(torch.zeros(n, 2, dtype=dtype, device=device), 1.0)

    @module
    class Twice(Generator):
        latent: Latent = attrs.field(factory=Plain)

        def forward(self, z, cond, *, rng=None):
            return 2 * z

    system = System(model=Twice(), space=Euclidean(shape=(2,)))
    x = system.sample(5, seed=1)
    assert torch.equal(system.sample(9, seed=1)[:5], x)
    with pytest.raises(Unsupported, match="no denoiser"):
        _ = system.denoise
    assert [path for path, _ in parts_of(system)] == ["model", "model.latent", "space", "codec"]


def test_modules_are_found_where_they_stand():
    system = trainable_system(Circle(), codec=Identity())
    assert list(system.modules()) == ["model"]
    assert isinstance(system.model, Preconditioned)
    assert isinstance(system.model.backbone, LinearNet)
    assert isinstance(system.model.parameterization, NoisePrediction)
    assert len(list(system.model.parameters())) == 3


def test_edits_nest_and_end():
    net = LinearNet(dim=2)
    x, noise, none = torch.ones(3, 2), torch.zeros(3), Condition()
    plain = net(x, noise, none)
    with net.edited({"main": lambda block, h: block(h) + 1}):
        with net.edited({"main": lambda block, h: block(h) * 2}):
            inner = net(x, noise, none)
        torch.testing.assert_close(net(x, noise, none), plain + 1)
    torch.testing.assert_close(
        inner, (net.blocks["main"](torch.cat([x, noise[:, None]], 1)) + 1) * 2 + net.label.weight[0]
    )
    assert torch.equal(net(x, noise, none), plain)
    assert net.features(x, noise, none, at=["main"])["main"].requires_grad
    with pytest.raises(InvalidInput, match="this backbone has main"):
        net.features(x, noise, none, at=["mid"])
