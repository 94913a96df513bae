"""Dropping conditions in training."""

import math

import attrs
import pytest
import torch
from suffuse_cfg.objective import Drop

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch, Loss, Objective
from suffuse.errors import InvalidInput, SpecError
from suffuse.regression import denoising_loss
from suffuse.rng import Rng
from suffuse.testing.exact import mixture_system
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle

RNG = Rng.of(0, 1)
SYSTEM = mixture_system(GaussianMixture.random(dim=2, components=4, seed=0), Circle())


@attrs.frozen(kw_only=True)
class Regression(Objective):
    uses_data = False

    def start(self, system, rng):
        return {"n": 0}

    def after(self, state, step, system, rng):
        return {"n": step}

    def loss(self, player, batch, system, state, rng):
        if batch is None:
            return Loss(torch.zeros(3))
        t = torch.full((rng.size,), 0.5, dtype=torch.float64)
        loss = denoising_loss(system, batch, t, lambda process, t, mix: torch.ones_like(t), rng)
        return Loss(loss.per_sample, {"present": batch.cond.present("label")})


def batch(n):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(x=x, cond=Condition(label=torch.arange(n) % 4), index=torch.arange(n))


def loss(drop, data, rng):
    return drop.loss("model", data, SYSTEM, {}, rng)


def present(p, n, seed=0, data=None):
    drop = Drop(objective=Regression(), p_uncond=p)
    return loss(drop, data or batch(n), Rng.of(seed, n)).logs["present"]


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_the_rate_is_binomial(p):
    n = 20_000
    dropped = int((~present(p, n)).sum())
    assert abs(dropped - n * p) < 5 * math.sqrt(n * p * (1 - p))


def test_the_ends_are_exact():
    assert present(0.0, 1000).all()
    assert not present(1.0, 1000).any()


def test_rows_keep_their_draw_in_any_batch():
    data, rng, drop = batch(64), Rng.of(3, 64), Drop(objective=Regression(), p_uncond=0.5)
    at = torch.tensor([40, 2, 17])
    whole, part = loss(drop, data, rng), loss(drop, data.select(at), rng.index(at))
    assert torch.equal(part.logs["present"], whole.logs["present"][at])
    torch.testing.assert_close(part.per_sample, whole.per_sample[at], rtol=0, atol=1e-12)


def test_dropped_rows_train_the_unconditional_model_with_the_same_noise():
    data, rng, alone = batch(64), Rng.of(3, 64), Regression()
    mixed = loss(Drop(objective=alone, p_uncond=0.5), data, rng)
    kept = mixed.logs["present"]
    conditional = loss(alone, data, rng).per_sample
    unconditional = loss(alone, attrs.evolve(data, cond=data.cond.drop()), rng).per_sample
    torch.testing.assert_close(mixed.per_sample, torch.where(kept, conditional, unconditional), rtol=0, atol=1e-12)
    assert (conditional != unconditional).any()


def test_what_was_absent_stays_absent():
    data = batch(100)
    absent = torch.arange(100) < 30
    data = attrs.evolve(data, cond=data.cond.drop(where=absent))
    assert torch.equal(present(0.0, 100, data=data), ~absent)


def test_everything_else_is_the_inner_objective():
    drop, inner = Drop(objective=Regression()), Regression()
    assert drop.uses_data is False
    assert drop.start(SYSTEM, Rng.of(0, 3)) == inner.start(SYSTEM, Rng.of(0, 3))
    assert drop.after({}, 7, SYSTEM, Rng.of(0, 3)) == {"n": 7}
    assert drop.players(SYSTEM).keys() == inner.players(SYSTEM).keys()
    assert torch.equal(loss(drop, None, Rng.of(0, 3)).per_sample, torch.zeros(3))


def test_bad_input_is_refused():
    with pytest.raises(InvalidInput, match="condition to drop"):
        loss(Drop(objective=Regression()), attrs.evolve(batch(4), cond=Condition()), Rng.of(0, 4))
    with pytest.raises(SpecError, match="p_uncond"):
        Drop(objective=Regression(), p_uncond=1.1)
