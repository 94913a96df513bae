"""Classifier-free guidance against closed forms on a labelled mixture."""

from typing import ClassVar

import attrs
import pytest
import torch
from suffuse_cfg.claims import Departure, Fidelity, GuidedScore
from suffuse_cfg.guidance import Cfg

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoiser
from suffuse.contracts.prediction import Logits, Mean
from suffuse.contracts.space import Euclidean
from suffuse.errors import IncompatibleComponents, InvalidInput, SpecError
from suffuse.parts import Chain, Interval
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, FirstOrder


@attrs.frozen(kw_only=True)
class Reader(Guidance):
    """Has an entry of the condition for itself."""

    reads: ClassVar[frozenset[str]] = frozenset({"y"})


MIXTURE = GaussianMixture.random(dim=3, components=5, seed=0)
TIME = torch.tensor(0.6, dtype=torch.float64)


def system(scale=3.0, **settings):
    return mixture_system(MIXTURE, Circle(), guidance=Cfg(scale=scale, **settings), sampler=FirstOrder(steps=10))


def batch(n=10, seed=0):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, Condition(label=torch.arange(n) % 5)


def test_off_is_the_conditional_denoiser_to_the_bit():
    (x, cond), s = batch(), system(1.0)
    assert s.denoise is s.plain
    assert torch.equal(s.denoise(x, TIME, cond).value, s.plain(x, TIME, cond).value)


def test_zero_is_the_unconditional_denoiser_to_the_bit():
    (x, cond), s = batch(), system(0.0)
    guided = s.denoise(x, TIME, cond)
    assert guided.nfe == 1
    assert torch.equal(guided.value, s.plain(x, TIME, Condition()).value)


@pytest.mark.parametrize("claim", [GuidedScore(), Fidelity(), Departure()])
def test_claims_hold_and_fail_without_guidance(claim):
    assert claim.measure(0).effect > 0
    assert claim.measure(0, sabotage=True).effect <= 0


@pytest.mark.parametrize("mix", ["x0", "eps", "v"])
@pytest.mark.parametrize("time", [TIME, torch.linspace(0.1, 1.0, 10, dtype=torch.float64)])
def test_every_parameterization_is_guided_alike(mix, time):
    (x, cond), s = batch(), system(3.0)

    def read(x_t, t, cond, *, s=None, rng=None):
        p = system().plain(x_t, t, cond)
        mixes = {"x0": (1.0, 0.0), "eps": (0.0, 1.0), "v": p.mix}
        return Mean(value=getattr(p, mix), x_t=x_t, t=t, process=p.process, mix=mixes[mix])

    here = time.clamp(max=0.95)  # eps loses x0 at zero SNR
    guided = s.guidance.denoiser(read, s)(x, here, cond)
    wanted = s.denoise(x, here, cond)
    # Reading x0 from eps divides by alpha >= 0.078; float64 leaves 1e-12 with room.
    for name in ("x0", "eps", "score"):
        torch.testing.assert_close(getattr(guided, name), getattr(wanted, name), rtol=0, atol=1e-11)


def test_a_split_batch_gives_the_same():
    (x, cond), s = batch(), system()
    t = torch.linspace(0.1, 0.9, 10, dtype=torch.float64)
    whole = s.denoise(x, t, cond).x0
    parts = [s.denoise(x[i : i + 3], t[i : i + 3], cond.index(slice(i, i + 3))).x0 for i in range(0, 10, 3)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-12)
    options = {"cond": cond, "seed": 5, "dtype": torch.float64}
    torch.testing.assert_close(s.sample(**options, batch=4), s.sample(**options), rtol=0, atol=1e-10)


def test_absent_rows_are_not_guided():
    (x, cond), s = batch(), system()
    absent = torch.arange(10) < 4
    guided = s.denoise(x, TIME, cond.drop(where=absent)).value
    torch.testing.assert_close(guided[absent], s.plain(x, TIME, Condition()).value[absent], rtol=0, atol=1e-12)
    torch.testing.assert_close(guided[~absent], s.denoise(x, TIME, cond).value[~absent], rtol=0, atol=1e-12)


def test_both_branches_are_one_call_that_counts_two():
    (x, cond), s, sizes = batch(), system(), []

    def counted(x_t, t, cond, **kwargs):
        sizes.append(len(x_t))
        return s.plain(x_t, t, cond, **kwargs)

    assert s.guidance.denoiser(counted, s)(x, TIME, cond).nfe == 2
    assert sizes == [20]


def test_an_interval_pays_only_inside():
    s = attrs.evolve(system(), guidance=Interval(guidance=Cfg(scale=3.0), low=0.25, high=0.65))
    nfe = {float(info.t): info.nfe for _, info in s.stream(cond=batch()[1])}
    assert {t: n for t, n in nfe.items() if n == 2}.keys() == {t for t in nfe if 0.25 <= t <= 0.65}
    assert sum(nfe.values()) == 10 + 4  # t = 0.3, 0.4, 0.5, 0.6 of ten steps


def test_only_named_entries_are_dropped():
    seen = []

    def spy(x_t, t, cond, **kwargs):
        seen.append(cond)
        return system().plain(x_t, t, Condition(), **kwargs)

    x, cond = batch()
    both = Condition(label=cond["label"], image=x)
    s = system(entries=("label",))
    s.guidance.denoiser(spy, s)(x, TIME, both)
    assert seen[0].present("label").tolist() == [False] * 10 + [True] * 10
    assert bool(seen[0].present("image").all())


def test_logits_are_combined_as_they_are():
    @attrs.define(eq=False, slots=False, kw_only=True)
    class Tokens(Denoiser):
        provides = frozenset({"logits", "conditional"})

        def __attrs_pre_init__(self):
            super().__init__()

        def forward(self, x_t, t, cond, *, process, s=None, rng=None):
            shift = torch.where(cond.present("label"), cond["label"] + 1.0, 0.0)
            return Logits(value=x_t[..., None] * torch.arange(4.0) + shift[:, None, None], x_t=x_t, t=t)

    x, cond = batch()
    s = System(model=Tokens(), process=Circle(), space=Euclidean(shape=(3,)), guidance=Cfg(scale=2.0))
    wanted = x[..., None] * torch.arange(4.0) + 2 * (cond["label"] + 1.0)[:, None, None]
    torch.testing.assert_close(s.denoise(x, TIME, cond).logits, wanted)


def test_rescaling_restores_the_conditional_deviation():
    x, cond = batch()
    given = system(1.0).denoise(x, TIME, cond).value
    plain, half, full = (system(3.0, rescale=r).denoise(x, TIME, cond).value for r in (0.0, 0.5, 1.0))
    torch.testing.assert_close(full.std(1), given.std(1))
    torch.testing.assert_close(half, (plain + full) / 2)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInput, match="cfg needs a condition: give --cond label=3"):
        system().sample(4)
    both = mixture_system(MIXTURE, Circle(), sampler=FirstOrder(), guidance=Chain(parts=(Cfg(), Reader())))
    with pytest.raises(InvalidInput, match="cfg needs a condition"):  # a measurement is none
        both.sample(2, cond={"y": torch.zeros(2, 3)})
    both.sample(2, cond={"y": torch.zeros(2, 3), "label": torch.zeros(2, dtype=torch.long)})
    unlabelled = attrs.evolve(MIXTURE, labels=None)
    with pytest.raises(IncompatibleComponents, match="needs 'conditional'"):
        mixture_system(unlabelled, Circle(), guidance=Cfg())
    with pytest.raises(SpecError, match="scale"):
        Cfg(scale=float("nan"))
    with pytest.raises(SpecError, match="rescale"):
        Cfg(rescale=1.5)
