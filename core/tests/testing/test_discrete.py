"""Laws of tokens that can be listed, their exact denoiser, and the tests of samples against them."""

import math

import pytest
import torch

from suffuse.contracts.condition import Condition
from suffuse.contracts.law import Categorical, Point
from suffuse.contracts.space import Tokens
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.testing import check
from suffuse.testing.discrete import (
    Joint,
    chi_square,
    counts,
    exact_law,
    joint_system,
    total_variation,
    variation_bound,
)
from suffuse.testing.stand_ins import Reverse, Shuffle

F64 = torch.float64


def passed(results):
    return {r.check: r.reason for r in results if r.status not in ("passed", "exempt")} == {}


def test_uniform_transitions_and_their_sampler_pass_the_suite():
    assert passed(check(Shuffle, needs=Shuffle.needs))
    assert passed(check(Reverse, needs=Reverse.needs, example={"steps": 20}))
    assert passed(check("suffuse/tokens"))


def test_a_chain_and_a_product_are_what_they_say():
    start, move = torch.tensor([0.3, 0.7]), torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    chain = Joint.chain(start, move, 3)
    assert float(chain.table[1, 0, 0]) == pytest.approx(0.7 * 0.4 * 0.9)
    product = Joint.product([[0.2, 0.8], [0.5, 0.5]])
    assert product.entropy == pytest.approx(-0.2 * math.log(0.2) - 0.8 * math.log(0.8) + math.log(2))
    assert chain.log_prob(torch.tensor([[1, 0, 0]])).exp().tolist() == pytest.approx([0.7 * 0.4 * 0.9])
    assert (chain.length, chain.symbols, len(chain.sequences)) == (3, 2, 8)


def test_draws_have_the_law_and_others_have_not():
    joint = Joint.random(3, 3, 0)
    x = joint.sample(torch.Generator().manual_seed(0), 5000)
    assert chi_square(x, joint.table).p_value > 1e-3
    assert chi_square(x, Joint.random(3, 3, 1).table).p_value < 1e-6
    assert total_variation(counts(x, 3) / 5000, joint.table) < variation_bound(joint.table, 5000)
    impossible = Joint.product([[1.0, 0.0], [0.5, 0.5]])
    assert chi_square(torch.tensor([[1, 0]]), impossible.table).p_value == 0
    assert chi_square(impossible.sample(torch.Generator().manual_seed(0), 50), impossible.table).p_value > 1e-3


def test_the_exact_denoiser_is_bayes_rule_written_out():
    joint, process, t = Joint.random(2, 3, 0), Shuffle(symbols=3), torch.tensor(0.4, dtype=F64)
    alpha = 1 - 0.999 * 0.4
    kernel = alpha * torch.eye(3, dtype=F64) + (1 - alpha) / 3
    found = joint_system(joint, process).plain(torch.tensor([[2, 0]]), t, Condition()).logits.exp()
    both = joint.table * kernel[:, 2, None] * kernel[:, 0]
    torch.testing.assert_close(found[0, 0], both.sum(1) / both.sum())
    torch.testing.assert_close(found[0, 1], both.sum(0) / both.sum())


def test_the_exact_law_of_a_walk_is_that_of_its_samples():
    system = joint_system(Joint.random(2, 3, 0), Shuffle(symbols=3), sampler=Reverse(steps=3))
    law = exact_law(system, 2)
    assert float(law.sum()) == pytest.approx(1)
    assert chi_square(system.sample(4000, seed=0), law).p_value > 1e-3


def test_tables_that_are_no_law_and_states_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInput, match="expected probabilities"):
        Joint(torch.full((2, 2), 0.3, dtype=F64))
    with pytest.raises(InvalidInput, match="float64 probabilities"):
        Joint(torch.full((2, 3), 1 / 6, dtype=F64))
    with pytest.raises(InvalidInput, match=r"\(batch, 2\), got \(4, 3\)"):
        joint_system(Joint.random(2, 3, 0), Shuffle(symbols=3)).plain(
            torch.zeros(4, 3).long(), torch.tensor(0.5), Condition()
        )


def test_tokens_are_integers_of_the_alphabet():
    space = Tokens(shape=(2,), symbols=3)
    assert space.like(4, dtype=F64).dtype == torch.int64
    with pytest.raises(InvalidInput, match=r"integer tokens, got torch\.float32"):
        space.check(torch.zeros(1, 2))
    with pytest.raises(InvalidInput, match="from 0 to 2, got values from 3 to 3"):
        space.check(torch.full((1, 2), 3))
    Tokens(shape=(2,), symbols=3, mask=True).check(torch.full((1, 2), 3))
    noise = space.noise(space.like(300), Rng.of(0, 300))
    assert sorted(noise.unique().tolist()) == [0, 1, 2]


def test_a_point_has_all_probability_on_its_state():
    point = Point(torch.tensor([[1, 2], [0, 0]]))
    assert point.log_prob(torch.tensor([[1, 2], [0, 1]])).tolist() == [0.0, -math.inf]
    assert torch.equal(point.sample(Rng.of(0, 2)), point.x)
    spread = Categorical(torch.tensor([[[0.0, -math.inf]]]))
    assert spread.log_prob(torch.tensor([[0]])).tolist() == [0.0]
