import math

import pytest
import torch
from suffuse_energies.funnel import Funnel
from suffuse_energies.gaussian import Gaussian
from suffuse_energies.lattice import Lattice
from suffuse_energies.many_well import ManyWell

from suffuse.errors import InvalidInput, SpecError
from suffuse.rng import Rng
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.statistics import mean_within

F64 = torch.float64


@pytest.mark.parametrize(("side", "n"), [(5, 25), (3, 9)])
def test_the_lattice_is_the_mixture_of_the_papers(side, n):
    mixture = GaussianMixture.grid(side, 5.0, math.sqrt(0.3))
    assert len(mixture.weights) == n
    x = 6 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    target = Lattice(side=side)
    torch.testing.assert_close(-target.energy(x), mixture.log_prob(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(target.score(x), mixture.score(x), rtol=1e-10, atol=1e-10)


def test_modes_are_counted_within_three_standard_deviations():
    target = Lattice(side=3)
    at = torch.cartesian_prod(*[torch.tensor([-5.0, 0.0, 5.0])] * 2)
    assert sorted(target.modes(at).tolist()) == list(range(9))
    near, far = 2.9 * math.sqrt(0.3), 3.1 * math.sqrt(0.3)
    assert target.modes(torch.tensor([[near, 0.0], [far, 0.0], [5.0 + far, 5.0]])).tolist() == [4, -1, -1]
    modes = target.modes(target.sample(Rng.of(0, 9000)))
    counts = modes[modes >= 0].bincount(minlength=9)
    # P(|z|^2 > 9) = exp(-4.5) = 0.011 of the draws are nobody's.
    share = 1 - math.exp(-4.5)
    assert ((counts - 1000 * share).abs() < 5 * math.sqrt(1000 * share)).all()


def test_the_funnel_s_energy_is_that_of_its_factors():
    for std in (1.0, 3.0):
        x = torch.randn(20, 10, generator=torch.Generator().manual_seed(0), dtype=F64)
        first = torch.distributions.Normal(0.0, torch.tensor(std, dtype=F64)).log_prob(x[:, 0])
        rest = torch.distributions.Normal(0.0, (x[:, :1] / 2).exp()).log_prob(x[:, 1:]).sum(1)
        torch.testing.assert_close(-Funnel(std=std).energy(x), first + rest, rtol=1e-12, atol=1e-12)


def test_the_many_well_s_constant_is_the_published_one():
    assert ManyWell().log_z == pytest.approx(16 * (math.log(11784.50927) + math.log(2 * math.pi) / 2), abs=1e-6)
    assert ManyWell(dim=2).log_z * 16 == pytest.approx(ManyWell().log_z)


def test_the_many_well_s_wells():
    """The right wells' share, and moments, by quadrature on another grid."""
    w = torch.linspace(-5, 5, 200_001, dtype=F64)
    p = (-(w**4) + 6 * w**2 + w / 2).exp()
    p = p / p.sum()
    x = ManyWell(dim=2).sample(Rng.of(0, 40_000), dtype=F64)[:, 0]
    for f in (lambda v: (v > 0).double(), lambda v: v, lambda v: v**2, lambda v: v**3, lambda v: v**4):
        assert mean_within(f(x), float((f(w) * p).sum()))


def test_draws_do_not_depend_on_dtype():
    for target in (Gaussian(), Lattice(), Funnel(), ManyWell()):
        a, b = (target.sample(Rng.of(1, 6), dtype=d) for d in (torch.float32, F64))
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


def test_bad_input_is_refused():
    for target in (Gaussian(), Lattice(), Funnel(), ManyWell()):
        with pytest.raises(InvalidInput, match=rf"\(batch, {target.shape[0]}\)"):
            target.energy(torch.zeros(3, target.shape[0] + 1))
        with pytest.raises(InvalidInput, match="int64"):
            target.energy(torch.zeros(3, *target.shape, dtype=torch.int64))
    with pytest.raises(SpecError, match="even number, got 7"):
        ManyWell(dim=7)
    with pytest.raises(SpecError, match="variance"):
        Lattice(variance=0.0)
