"""Reflection against its closed form, and what stays as it is."""

import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.linear import Linear
from suffuse_edm.deterministic import Heun
from suffuse_edm.process import Edm
from suffuse_w2sd.claims import Displacement, TowardsTheData
from suffuse_w2sd.reflection import Reflection

from suffuse.contracts.condition import Condition
from suffuse.contracts.model import Denoiser
from suffuse.contracts.part import module
from suffuse.contracts.sampler import Carry
from suffuse.errors import SpecError
from suffuse.parts import Chain
from suffuse.rng import Rng
from suffuse.testing.exact import ExactDenoiser, mixture_system
from suffuse.testing.mixture import GaussianMixture

F64 = torch.float64
STRONG, WEAK = (GaussianMixture.random(dim=3, components=4, seed=i) for i in (0, 100))
T, S = torch.tensor(0.7, dtype=F64), torch.tensor(0.6, dtype=F64)


def states(n=16):
    return Rng.of(0, n).normal(torch.empty(n, 3, dtype=F64))


def system(guidance, process=None, **parts):
    return mixture_system(STRONG, process or Linear(), **{"sampler": Ddim(steps=10), "guidance": guidance, **parts})


def moved(guidance, x):
    """The state that a step begins with, and what it tells."""
    seen = []

    def step(system, carry, t, s, rng):
        seen.append(carry.x)
        return system.sampler.step(system, carry, t, s, rng)

    whole = system(guidance)
    _, info = guidance.step(step, whole)(whole, Carry(x=x, cond=Condition()), T, S, Rng.of(0, len(x)))
    return seen[0], info


@module
class Fixed(Denoiser):
    """Answers at any state what another model says at ``x``."""

    provides = frozenset({"mean"})
    model: Denoiser
    x: torch.Tensor

    def forward(self, x_t, t, cond, *, process, s=None, rng=None):
        there = self.model(self.x, T, cond, process=process)
        return attrs.evolve(there, value=there.eps, x_t=x_t, t=t, mix=(0.0, 1.0))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_displacement_is_the_closed_form(seed):
    assert Displacement().measure(seed).effect > 0
    assert Displacement().measure(seed, sabotage=True).effect < 0


def test_a_weak_model_that_answers_as_the_strong_one_did_changes_nothing():
    x = states()
    same = Fixed(model=ExactDenoiser(mixture=STRONG), x=x)
    found, _ = moved(Reflection(weak=same), x)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-12)


def test_swapped_models_move_the_other_way():
    """Evaluated at x, where the displacement is linear in the difference of the two."""
    x = states()
    weak, strong = (Fixed(model=ExactDenoiser(mixture=m), x=x) for m in (WEAK, STRONG))
    there, _ = moved(Reflection(weak=weak, strong=strong), x)
    back, _ = moved(Reflection(weak=strong, strong=weak), x)
    torch.testing.assert_close(there - x, x - back, rtol=0, atol=1e-12)
    assert (there - x).abs().max() > 1e-3


def test_no_reflected_steps_are_the_plain_sampler_to_the_bit():
    plain = system(None).sample(8, seed=1, dtype=F64)
    assert torch.equal(system(Reflection(reflected=0)).sample(8, seed=1, dtype=F64), plain)


def test_all_steps_but_the_last_are_reflected_and_counted():
    spent = []
    weak = ExactDenoiser(mixture=WEAK)
    system(Reflection(weak=weak)).sample(2, seed=0, on_step=lambda _, info: spent.append(info.nfe))
    assert spent == [3] * 9 + [1]
    spent.clear()
    system(Reflection(weak=weak, reflected=4)).sample(2, seed=0, on_step=lambda _, info: spent.append(info.nfe))
    assert spent == [3] * 4 + [1] * 6


def test_a_step_tells_the_state_it_was_given():
    x = states()
    _, info = moved(Reflection(weak=ExactDenoiser(mixture=WEAK)), x)
    assert torch.equal(info.x_t, x)


def test_steps_that_go_up_are_left_alone():
    x, guidance = states(), Reflection(weak=ExactDenoiser(mixture=WEAK))
    times = torch.linspace(0.1, 0.9, 9, dtype=F64)
    up = system(guidance).sample(start=x, times=times, dtype=F64)
    assert torch.equal(up, system(None).sample(start=x, times=times, dtype=F64))


@pytest.mark.parametrize("level", ["t", "s"])
@pytest.mark.parametrize(("process", "sampler"), [(Linear(), Ddim(steps=20)), (Edm(), Heun(steps=12))])
def test_it_goes_with_other_samplers_and_with_other_guidance(process, sampler, level):
    """High against low guidance of one model: the samples move towards the class, as with guidance itself."""
    mixture = GaussianMixture.ring(4, radius=1.5, std=0.6)
    label = torch.arange(400) % 4

    def accuracy(guidance):
        whole = mixture_system(mixture, process, sampler=sampler, guidance=guidance)
        x = whole.sample(cond={"label": label}, seed=0, dtype=F64)
        assert x.isfinite().all()
        return float((mixture.class_log_prob(x).argmax(1) == label).double().mean())

    reflect = Reflection(strong_guidance=Cfg(scale=3.0), level=level)
    assert accuracy(reflect) > accuracy(None)
    assert accuracy(Chain(parts=(Cfg(scale=1.5), reflect))) >= accuracy(reflect)


def test_it_corrects_the_strong_model():
    assert TowardsTheData(samples=1000).measure(0).effect > 0


def test_bad_settings_are_refused():
    with pytest.raises(SpecError, match="level"):
        Reflection(level="x")
    with pytest.raises(SpecError, match="reflected"):
        Reflection(reflected=-1)
