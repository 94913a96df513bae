"""The sampler's law, its grid and ending, guidance of logits, and composition with other plugins."""

import math

import attrs
import pytest
import torch
from suffuse_cfg.guidance import Cfg
from suffuse_digits.dataset import Digits
from suffuse_md4.denoiser import TokenDenoiser
from suffuse_md4.levels import Levels
from suffuse_md4.nelbo import Nelbo
from suffuse_md4.sampler import Ancestral, CosineGrid
from suffuse_md4.schedules import Cosine, Linear
from suffuse_md4.statewise import Statewise
from suffuse_md4.top_p import TopP
from suffuse_md4.transformer import Transformer

from suffuse.contracts.condition import Condition
from suffuse.contracts.prediction import Logits
from suffuse.contracts.space import Tokens
from suffuse.errors import InvalidInput, SpecError
from suffuse.parts import ToZero, Uniform
from suffuse.system import System
from suffuse.testing.discrete import Joint, chi_square, exact_law, joint_system, total_variation
from suffuse.testing.fitting import fit, rows_of, seeded
from suffuse.testing.stand_ins import Shuffle

F64 = torch.float64


def test_the_cosine_grid():
    r = 1 - torch.arange(10, dtype=F64) / 10
    torch.testing.assert_close(CosineGrid().times(Linear(symbols=2), 10), torch.cos(math.pi / 2 * (1 - r)))


def test_linear_schedule_on_the_cosine_grid_is_the_cosine_schedule_on_the_uniform_one():
    linear, cosine = Linear(symbols=2, eps=0.0), Cosine(symbols=2, eps=0.0)
    a = linear.masked(CosineGrid().times(linear, 16))
    torch.testing.assert_close(a, cosine.masked(Uniform().times(cosine, 16)))


@pytest.mark.parametrize("process", [Linear(symbols=3), Statewise(symbols=3, power=2.0), Shuffle(symbols=3)])
def test_samples_have_the_law_that_the_steps_compose_to(process):
    joint = Joint.random(3, 3, 0)
    system = joint_system(joint, process, sampler=Ancestral(steps=3, grid=Uniform(), terminal=ToZero()))
    law, x = exact_law(system, 3), system.sample(4000, seed=0)
    assert chi_square(x, law).p_value > 1e-3
    assert total_variation(law, joint.table) > 0.01


def test_the_ending_leaves_no_mask_and_counts_its_evaluation():
    joint, told = Joint.random(3, 3, 0), []
    system = joint_system(joint, Linear(symbols=3, eps=0.4), sampler=Ancestral(steps=4))
    x = system.sample(500, seed=0, on_step=lambda i, info: told.append(info))
    assert x.max() < 3
    assert [info.nfe for info in told] == [1, 1, 1, 2]
    assert [info.transition is None for info in told] == [False, False, False, True]
    left = joint_system(joint, Linear(symbols=3, eps=0.4), sampler=Ancestral(steps=4, terminal=ToZero()))
    assert (left.sample(500, seed=0) == 3).any()


def test_tokens_that_are_given_are_kept_and_the_rest_has_the_conditional_law():
    joint = Joint.random(2, 3, 0)
    system = joint_system(joint, Linear(symbols=3), sampler=Ancestral(steps=3))
    x = system.sample(start=torch.tensor([[1, 3]]).expand(3000, 2), seed=0)
    assert (x[:, 0] == 1).all()
    conditional = Joint.product((joint.table[1] / joint.table[1].sum())[None])
    assert chi_square(x[:, 1:], conditional.table).p_value > 1e-3


def test_top_p_keeps_the_fewest_symbols_that_reach_p():
    value = torch.tensor([[[0.1, 0.5, 0.15, 0.25]]], dtype=F64).log()
    joint = Joint.random(1, 4, 0)
    for p, kept in ((0.4, [1]), (0.6, [1, 3]), (0.8, [1, 2, 3]), (1.0, [0, 1, 2, 3])):
        guided = TopP(p=p).denoiser(
            lambda x, t, cond, *, s=None, rng=None: Logits(value=value, x_t=x, t=t),
            joint_system(joint, Linear(symbols=4)),
        )
        found = guided(torch.zeros(1, 1).long(), torch.tensor(0.5), Condition()).logits.softmax(-1)[0, 0]
        assert found.nonzero().flatten().tolist() == kept
        torch.testing.assert_close(found[kept], value[0, 0].exp()[kept] / value[0, 0].exp()[kept].sum())


def small(**settings):
    return Transformer(symbols=17, shape=(1, 8, 8), width=16, depth=1, heads=2, **settings)


def test_digits_train_and_sample_with_labels_guidance_and_a_codec():
    example = Digits(split="train").everything()
    with seeded(0):
        model = TokenDenoiser(backbone=small(classes=10))
    system = System(
        model=model,
        process=Linear(symbols=17),
        space=Tokens(shape=(1, 8, 8), symbols=17),
        codec=Levels(),
        sampler=Ancestral(steps=3),
        guidance=Cfg(scale=2.0),
    )
    x = system.codec.encode(example.x)
    torch.testing.assert_close(system.codec.decode(x), example.x)
    logs = fit(system, Nelbo(), rows_of(x, **example.cond), steps=12, batch=16, seed=0, learning_rate=1e-2)
    first, last = (sum(float(step["model/loss"]) for step in part) / 3 for part in (logs[:3], logs[-3:]))
    assert math.log2(17) * 0.8 < first < math.log2(17) * 1.2
    assert last < first - 0.5
    label = torch.tensor([3, 8])
    guided = system.sample(cond={"label": label}, seed=0)
    assert guided.shape == (2, 1, 8, 8)
    assert set(guided.unique().tolist()) <= set(range(17))
    plain = attrs.evolve(system, guidance=None).sample(cond={"label": label}, seed=0)
    assert torch.equal(attrs.evolve(system, guidance=Cfg(scale=1.0)).sample(cond={"label": label}, seed=0), plain)


def test_a_network_that_is_not_told_the_time_does_not_see_it():
    with seeded(0):
        net = small()
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.1)
    x, process = torch.full((2, 1, 8, 8), 17), Linear(symbols=17)
    for time, same in (("t", False), ("none", True)):
        model = TokenDenoiser(backbone=net, time=time)
        a, b = (model(x, torch.tensor(t), Condition(), process=process).logits for t in (0.2, 0.9))
        assert torch.equal(a, b) is same


def test_what_is_refused():
    model = TokenDenoiser(backbone=small())
    x, t = torch.zeros(2, 1, 8, 8).long(), torch.tensor(0.5)
    with pytest.raises(InvalidInput, match="16 symbols, the backbone 17"):
        model(x, t, Condition(), process=Linear(symbols=16))
    with pytest.raises(InvalidInput, match="expected integers of shape"):
        model(x.float(), t, Condition(), process=Linear(symbols=17))
    with pytest.raises(SpecError, match="divisible by heads=5"):
        Transformer(symbols=3, width=16, heads=5)
    with pytest.raises(SpecError, match="low must be below high"):
        Levels(low=1.0, high=0.0)
    space = Tokens(shape=(3,), symbols=4)
    with pytest.raises(InvalidInput, match="tokens from 0 to 3, got values from 4 to 4"):
        space.check(torch.full((2, 3), 4))
    attrs.evolve(space, mask=True).check(torch.full((2, 3), 4))
