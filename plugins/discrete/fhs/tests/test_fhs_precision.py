"""The closed form of cut-off Gumbel noise, what a grid of uniforms does, and entropy told of samples."""

import math

import pytest
import torch
from suffuse_fhs.claims import GridLaw, TruncatedLaw, _on_grid
from suffuse_fhs.diagnostics import Precision, TokenEntropy
from suffuse_fhs.precision import chain_law, grid_law, gumbel_max, largest_gumbel, truncated_law
from suffuse_md4.schedules import Linear

from suffuse.contracts.condition import Condition
from suffuse.contracts.task import Example
from suffuse.errors import InvalidInput, SpecError
from suffuse.rng import Rng
from suffuse.testing.discrete import Joint, chi_square, joint_system

F64 = torch.float64


def zipf(k):
    p = 1 / torch.arange(1, k + 1, dtype=F64)
    return p / p.sum()


def entropy(p):
    return float(torch.special.entr(p).sum())


def test_float32_uniforms_have_24_bits_and_so_a_largest_gumbel():
    assert largest_gumbel(24) == pytest.approx(16.6355, abs=1e-4)
    u = torch.rand(2**22, generator=torch.Generator().manual_seed(0))
    assert torch.equal((u * 2**24).round() / 2**24, u)
    assert float(u.max()) <= 1 - 2**-24
    like = Rng.of(0, 1).uniform(torch.empty(1, 2**18))
    assert torch.equal((like * 2**24).round() / 2**24, like)


def test_the_closed_form_s_limits_and_order():
    p = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=F64)
    torch.testing.assert_close(truncated_law(p, 40.0), p, atol=1e-12, rtol=0)
    cold = truncated_law(p, 1.0)
    assert float(cold.sum()) == pytest.approx(1, abs=1e-12)
    assert cold[0] > p[0]
    assert cold[3] < p[3]
    assert float(cold[1]) == pytest.approx(float(cold[2]))
    both = truncated_law(torch.stack([p, p.flip(0)]), 1.0)
    torch.testing.assert_close(both[0], cold)
    torch.testing.assert_close(both[1], cold.flip(0))


def test_the_entropy_falls_with_the_steps():
    """The values of an independent computation of the same formula: 5.625 without, 5.613, 5.579 at 64, 256 steps."""
    p = zipf(2000)
    assert entropy(chain_law(p, 64)) == pytest.approx(5.6249, abs=1e-4)
    assert entropy(chain_law(p, 64, largest_gumbel(24))) == pytest.approx(5.6131, abs=1e-4)
    assert entropy(chain_law(p, 256, largest_gumbel(24))) == pytest.approx(5.5792, abs=1e-4)


def test_on_a_grid_half_of_the_loss_remains():
    """By the sum over levels with symbols against the mask alone; first order in the loss, so within a tenth."""
    p = zipf(500)
    lost = [1 - float((q / p)[-1]) for q in (_on_grid(500, 64, 20), chain_law(p, 64, largest_gumbel(20)))]
    assert lost[0] / lost[1] == pytest.approx(0.5, abs=0.1)


def test_a_grid_s_law_by_listing_all_uniforms():
    p, bits = torch.tensor([0.6, 0.3, 0.1], dtype=F64), 4
    levels = torch.arange(16, dtype=F64) / 16
    u = torch.cartesian_prod(levels, levels, levels)
    u = u[(u > 0).any(1)]  # where all are 0 nothing is defined
    share = (p / -u.log()).argmax(1).bincount(minlength=3).double() / 16**3
    torch.testing.assert_close(grid_law(p, bits), share, atol=1e-12, rtol=0)
    equal = grid_law(torch.full((3,), 1 / 3), bits)
    assert equal[0] > equal[2]  # the first of equals


def test_gumbel_max_in_float64_has_the_law_and_so_has_suffuse_s_own_draw():
    p = torch.tensor([0.7, 0.2, 0.0999, 0.0001], dtype=F64)
    u = torch.rand(20000, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
    assert chi_square(gumbel_max(p, u)[:, None], p).p_value > 1e-3
    own = Rng.of(0, 20000).categorical(p.log().float().expand(20000, 4))
    assert chi_square(own[:, None], p).p_value > 1e-3


def test_the_task_and_the_metric():
    result = Precision(steps=(16,), bits=12).run(
        joint_system(Joint.random(2, 3, 0), Linear(symbols=3)), {"probabilities": zipf(50)}, Rng.of(0, 1)
    )
    assert result.metrics["entropy"] == pytest.approx(entropy(zipf(50)))
    assert result.tables["steps"][0]["lost"] > 0
    rows = Example(x=torch.tensor([[0, 0, 1, 1], [2, 2, 2, 2]]), cond=Condition())
    assert TokenEntropy().measure(rows, rows)["entropy"] == pytest.approx(math.log(2) / 2)
    system = joint_system(Joint.random(2, 3, 0), Linear(symbols=3))
    with pytest.raises(InvalidInput, match="positive probabilities"):
        Precision().run(system, {"probabilities": torch.tensor([0.5, 0.6])}, Rng.of(0, 1))
    with pytest.raises(SpecError, match="steps"):
        Precision(steps=())


@pytest.mark.parametrize("claim", [TruncatedLaw, GridLaw])
def test_claims_hold_and_their_sabotage_fails(claim):
    assert claim().measure(0).effect > 0
    assert claim().measure(0, sabotage=True).effect <= 0
