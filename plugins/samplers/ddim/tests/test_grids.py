import numpy as np
import pytest
import torch
from suffuse_ddim.grids import Leading, Quadratic
from suffuse_ddim.sampler import Ddim

from suffuse.errors import Unsupported


@pytest.mark.parametrize("steps", [10, 20, 50, 100, 1000])
def test_leading_is_the_arithmetic_sequence(steps, circle):
    n = Leading().times(circle, steps) * 1000
    expected = torch.arange(0, 1000, 1000 // steps, dtype=torch.float64) + 1
    torch.testing.assert_close(n, expected.flip(0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [10, 20])
def test_quadratic_is_the_squared_sequence(steps, circle):
    """Where rounding down repeats no step."""
    squares = np.linspace(0, np.sqrt(1000 * 0.8), steps) ** 2
    expected = torch.tensor([int(v) + 1 for v in squares], dtype=torch.float64).flip(0)
    torch.testing.assert_close(Quadratic().times(circle, steps) * 1000, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("grid", [Leading, Quadratic])
@pytest.mark.parametrize("chain", [2, 3, 7, 50])
def test_every_length_is_a_grid_of_the_chain(grid, chain, circle):
    for steps in range(2, chain + 1):
        n = grid(chain=chain).times(circle, steps) * chain
        assert len(n) == steps
        assert (n.diff() < -0.5).all()
        torch.testing.assert_close(n, n.round(), rtol=0, atol=1e-9)
        assert n[-1].round() == 1
        assert n[0].round() <= chain
    assert (n.round() == torch.arange(chain, 0, -1)).all()  # with all steps, the chain itself


@pytest.mark.parametrize("grid", [Leading, Quadratic])
@pytest.mark.parametrize("steps", [1, 51])
def test_lengths_beyond_the_chain_are_refused(grid, steps, circle):
    with pytest.raises(Unsupported, match="from 2 to 50 steps"):
        Ddim(steps=steps, grid=grid(chain=50)).times(circle)
