import pytest
from suffuse_ddpm.claims import Marginals, MeanFromEps, UnitGaussian, WeightedLossIsDivergence


@pytest.mark.parametrize("claim", [Marginals, MeanFromEps, UnitGaussian, WeightedLossIsDivergence])
def test_exact_claims_hold_and_their_sabotage_fails(claim):
    for seed in range(5):
        assert claim().measure(seed).effect > 0
    assert claim().measure(0, sabotage=True).effect < 0
