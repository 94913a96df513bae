"""Entries of the condition that belong to a guidance and not to the model."""

from typing import ClassVar

import attrs
import pytest
import torch

from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.errors import InvalidInput
from suffuse.parts import Chain, Interval
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, FirstOrder

PRIOR = GaussianMixture.ring(3, 1.0, 0.2)


@attrs.frozen(kw_only=True)
class Shift(Guidance):
    """Adds the row's ``y`` to the state after each step."""

    reads: ClassVar[frozenset[str]] = frozenset({"y"})

    def step(self, inner, system):
        def step(system, carry, t, s, rng):
            carry, info = inner(system, carry, t, s, rng)
            return attrs.evolve(carry, x=carry.x + carry.cond["y"]), info

        return step


def system(guidance):
    return mixture_system(PRIOR, Circle(), sampler=FirstOrder(steps=3), guidance=guidance)


@pytest.mark.parametrize("wrap", [lambda g: g, lambda g: Chain(parts=(Interval(guidance=g, high=1.0), Shift()))])
def test_the_model_neither_checks_nor_sees_them(wrap):
    guided = system(wrap(Shift()))
    cond = {"label": torch.arange(6) % 3, "y": torch.arange(12.0).reshape(6, 2)}
    x = guided.sample(cond=cond, seed=1)
    assert torch.equal(x, guided.sample(cond=cond, seed=1, batch=4)), "rows lost their measurement"
    still = {**cond, "y": torch.zeros(6, 2)}
    assert torch.equal(guided.sample(cond=still, seed=1), system(None).sample(cond={"label": cond["label"]}, seed=1))
    # A denoiser asked directly sees the label alone.
    t, x = torch.tensor(0.5, dtype=torch.float64), torch.randn(6, 2)
    with_y = guided.denoise(x, t, Condition(cond)).x0
    assert torch.equal(with_y, system(None).denoise(x, t, Condition(label=cond["label"])).x0)


def test_nobody_elses_entries_pass():
    cond = Condition(label=torch.zeros(2, dtype=torch.long), z=torch.zeros(2))
    with pytest.raises(InvalidInput, match="z"):
        system(Shift()).check(cond)


def test_without():
    cond = Condition({"a": torch.zeros(2), "b": torch.ones(2)}).drop("b")
    assert cond.without({"c"}) is cond
    left = cond.without({"a", "c"})
    assert list(left) == ["b"]
    assert not left.present("b").any()
    assert not cond.without({"a", "b"})
