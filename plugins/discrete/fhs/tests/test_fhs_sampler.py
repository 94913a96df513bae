"""The first-hitting sampler: its law, its times, groups, given tokens, and what it is composed with."""

import math

import pytest
import torch
from suffuse_fhs.claims import CountIsBound, ExactLaw, FewerCalls, HittingTimes
from suffuse_fhs.objective import MaskedCount
from suffuse_fhs.reveal import Reveal
from suffuse_fhs.sampler import FirstHitting
from suffuse_md4.schedules import Linear
from suffuse_md4.statewise import Statewise
from suffuse_md4.top_p import TopP

from suffuse.contracts.condition import Condition
from suffuse.contracts.objective import Batch
from suffuse.errors import IncompatibleComponents, InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.testing.discrete import Joint, chi_square, exact_law, joint_system, total_variation
from suffuse.testing.stand_ins import Shuffle

F64 = torch.float64
MASKED = Linear(symbols=3)


def walk(joint, n, process=MASKED, seed=0, **settings):
    told = []
    system = joint_system(joint, process, sampler=FirstHitting(**settings))
    x = system.sample(n, seed=seed, on_step=lambda _, info: told.append(info))
    return x, told


def test_draws_have_the_law_of_the_data_and_cost_one_evaluation_a_token():
    joint = Joint.random(3, 3, 0)
    x, told = walk(joint, 4000)
    assert chi_square(x, joint.table).p_value > 1e-3
    assert sum(info.nfe for info in told) == 3
    assert [int((info.x_s == 3).sum(1).max()) for info in told[:3]] == [2, 1, 0]


def test_one_call_gives_the_product_of_the_marginals():
    joint = Joint.random(3, 3, 0)
    marginals = joint.posterior(torch.ones(1, 3, 3, dtype=F64))[0]
    law = exact_law(joint_system(joint, MASKED, sampler=FirstHitting(steps=1)), 3)
    assert total_variation(law, Joint.product(marginals).table) < 1e-12


@pytest.mark.parametrize(
    ("groups", "steps", "left"),
    [("equal", 3, [5, 2, 0]), ("equal", 4, [6, 4, 2, 0]), ("cosine", 3, [6, 3, 0]), ("cosine", 8, None)],
)
def test_groups_leave_as_many_as_they_say(groups, steps, left):
    _, told = walk(Joint.product(torch.full((8, 2), 0.5)), 5, Linear(symbols=2), steps=steps, groups=groups)
    kept = [(info.x_s == 2).sum(1).unique().tolist() for info in told]
    assert all(len(k) == 1 for k in kept)
    if left is not None:
        assert [k[0] for k in kept] == left
    assert kept[-1] == [0]


def test_the_network_is_asked_at_the_time_of_the_hit():
    _, told = walk(Joint.random(3, 3, 0), 200)
    for info in told[:3]:
        assert (info.prediction.t <= info.t).all()
        assert (info.s <= info.prediction.t).all()
    torch.testing.assert_close(told[0].s, told[1].t)


def test_tokens_that_are_given_are_kept_and_rows_may_have_different_numbers_of_masks():
    joint = Joint.random(2, 3, 0)
    system = joint_system(joint, MASKED, sampler=FirstHitting())
    start = torch.tensor([[1, 3], [3, 3], [1, 2]]).repeat(3000, 1)
    x = system.sample(start=start, seed=0)
    assert (x[start != 3] == start[start != 3]).all()
    assert chi_square(x[0::3, 1:], (joint.table[1] / joint.table[1].sum())).p_value > 1e-3
    assert chi_square(x[1::3], joint.table).p_value > 1e-3


def test_the_law_of_a_reveal_sums_to_one_and_has_its_own_draws():
    g = torch.Generator().manual_seed(0)
    x = torch.tensor([[3, 1, 3]])
    logits = torch.randn(1, 3, 3, generator=g, dtype=F64)
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)
    for count in (0, 1, 2):
        wide = [v.expand(len(every), *v.shape[1:]) for v in (x, logits, torch.tensor([count]))]
        law = Reveal(wide[0], wide[1], 3, wide[2], 2)
        assert float(law.log_prob(every).exp().sum()) == pytest.approx(1)
    n = 4000
    law = Reveal(x.expand(n, 3), logits.expand(n, 3, 3), 3, torch.ones(n).long(), 2)
    one = Reveal(x.expand(len(every), 3), logits.expand(len(every), 3, 3), 3, torch.ones(len(every)).long(), 2)
    assert chi_square(law.sample(Rng.of(0, n)), one.log_prob(every).exp().view(4, 4, 4)).p_value > 1e-3


def test_it_takes_guidance_of_logits():
    joint = Joint.product([[0.7, 0.2, 0.1]] * 3)
    x = joint_system(joint, MASKED, sampler=FirstHitting(), guidance=TopP(p=0.6)).sample(100, seed=0)
    assert (x == 0).all()


def test_the_loss_masks_a_uniform_number_of_tokens_and_is_the_bound_at_the_optimum():
    joint, n = Joint.random(4, 3, 0), 4096
    seen = []
    system = joint_system(joint, MASKED)
    plain = type(system.model).forward

    class Spy(type(system.model)):
        def forward(self, x_t, t, cond, **rest):
            seen.append((x_t == 3).sum(1))
            return plain(self, x_t, t, cond, **rest)

    system.model.__class__ = Spy
    batch = Batch(x=joint.sample(torch.Generator().manual_seed(0), n), cond=Condition(), index=torch.arange(n))
    loss = MaskedCount().loss("model", batch, system, {}, Rng.of(1, n)).per_sample
    shares = seen[0].bincount(minlength=5)[1:] / n
    assert (shares - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / n)
    assert abs(float(loss.mean()) - joint.entropy / 4 / math.log(2)) < 5 * float(loss.std()) / n**0.5


def test_what_is_refused():
    joint = Joint.random(2, 3, 0)
    with pytest.raises(IncompatibleComponents, match="needs 'masked'"):
        joint_system(joint, Shuffle(symbols=3), sampler=FirstHitting())
    with pytest.raises(Unsupported, match="no one schedule to invert"):
        joint_system(joint, Statewise(symbols=3), sampler=FirstHitting()).sample(2)
    times = torch.tensor([0.1, 0.9], dtype=F64)
    with pytest.raises(Unsupported, match="s must be below t"):
        joint_system(joint, MASKED, sampler=FirstHitting()).sample(2, times=times)
    with pytest.raises(InvalidInput, match="needs data"):
        MaskedCount().loss("model", None, joint_system(joint, MASKED), {}, Rng.of(0, 2))


@pytest.mark.parametrize("claim", [ExactLaw, HittingTimes, CountIsBound, FewerCalls])
def test_claims_hold_and_their_sabotage_fails(claim):
    assert claim().measure(0).effect > 0
    assert claim().measure(0, sabotage=True).effect <= 0
