import math

import pytest
import torch
from suffuse_ddpm.linear import Linear
from suffuse_mdm.claims import ClosedForms
from suffuse_mdm.matrices import cholesky, root, transition
from suffuse_mdm.presets import alda, cld, malda, vpsde
from suffuse_mdm.process import LearnedSde, LinearSde

from suffuse.contracts.process import as_time
from suffuse.errors import InvalidInput, SpecError, Unsupported
from suffuse.rng import Rng
from suffuse.state import combine
from suffuse.testing.fitting import seeded

F64 = torch.float64
PROCESSES = [vpsde(), cld(), cld(M=0.25), alda(), alda(M=2.0, gamma=0.5, psi=3.0), malda(), malda(K=4)]
TIMES = torch.linspace(1e-3, 1, 50, dtype=F64)


def learned(**settings):
    with seeded(3):
        return LearnedSde(**settings)


def test_the_kernels_are_the_published_ones():
    assert ClosedForms().measure(3).effect > 0


@pytest.mark.parametrize("process", [*PROCESSES, learned(full=True, variables=3)])
def test_any_matrices_lead_to_the_prior(process):
    """S - S_inf = Phi (S_0 - S_inf) Phi^T: the stationary law, whatever Q and D, to rounding at every time."""
    phi, L = process.moments(TIMES)
    stationary = torch.diag(process.prior_variances())
    start = torch.diag(torch.tensor([0.0] + [process.v0_variance] * (process.K - 1), dtype=F64))
    expected = stationary + phi @ (start - stationary) @ phi.mT
    torch.testing.assert_close(L @ L.mT, expected, rtol=0, atol=1e-13 * float(stationary.max()) * 4)
    late = LinearSde(Q=((0.0, -1.0), (1.0, 0.0)), D=((0.5, 0.0), (0.0, 1.5)), beta_min=60.0, beta_max=60.0)
    _, L = late.moments(as_time(1.0))
    torch.testing.assert_close(L @ L.mT, torch.eye(2, dtype=F64), rtol=0, atol=1e-12)


def test_van_loan_against_quadrature():
    """On a matrix that is no stationary process's: Simpson's rule over 2000 intervals is exact to about 1e-12."""
    g = torch.Generator().manual_seed(0)
    F, V = torch.randn(2, 3, 3, generator=g, dtype=F64)
    b, n = as_time([0.3, 2.0]), 2000
    phi, s = transition(F, V @ V.T, b)
    for i, end in enumerate(b):
        grid = torch.linspace(0, float(end), n + 1, dtype=F64)
        e = torch.linalg.matrix_exp(F * grid[:, None, None])
        weight = torch.full((n + 1,), 2.0, dtype=F64)
        weight[1::2], weight[0], weight[-1] = 4.0, 1.0, 1.0
        integral = (weight[:, None, None] * (e @ V @ V.T @ e.mT)).sum(0) * float(end) / (3 * n)
        torch.testing.assert_close(s[i], integral, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(phi[i], e[-1], rtol=1e-12, atol=1e-12)


def test_the_kernel_keeps_its_digits_where_it_is_nearly_singular():
    """Without noise of its own x has variance 4/3 B^3 at first (M = 1, v = 0): no jitter is needed, nothing is lost."""
    process, t = cld(v0_variance=0.0), as_time([1e-6, 1e-5, 1e-4])
    _, L = process.moments(t)
    B = process.elapsed(t)
    torch.testing.assert_close(L[:, 0, 0] ** 2, 4 / 3 * B**3, rtol=2e-3, atol=0)
    torch.testing.assert_close(L[:, 1, 1] ** 2, B, rtol=2e-3, atol=0)  # 4 B (1 - 3/4), what x leaves unexplained


def test_factors():
    S = torch.tensor([[4.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 9.0]], dtype=F64)
    L = cholesky(S)
    torch.testing.assert_close(L @ L.T, S, rtol=0, atol=1e-14)
    assert L[1, 1] == 0
    torch.testing.assert_close(root(S) @ root(S), S, rtol=0, atol=1e-13)


def test_one_variable_is_the_vp_sde():
    process, scalar = vpsde(), Linear(beta_min=0.1, beta_max=10.0)
    x, rng = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=F64), Rng.of(0, 5)
    t = torch.linspace(0.1, 1, 5, dtype=F64)
    alpha, sigma = scalar.scalars(t)
    made = process.corrupt({"x": x}, t, rng=rng)
    expected = combine(alpha, x, sigma, made.noise["x"])
    torch.testing.assert_close(made.x_t["x"], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(process.drift({"x": x}, t)["x"], scalar.drift(x, t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(process.diffuse({"x": x}, t)["x"], scalar.diffuse(x, t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(process.score({"x": x}, t)["x"], scalar.score(x, t), rtol=1e-12, atol=1e-12)
    assert process.prior({"x": x}).std["x"] == 1


def test_ends_of_time():
    process, rng = cld(), Rng.of(0, 4)
    x = {"x": torch.ones(4, 2, dtype=F64), "v": torch.zeros(4, 2, dtype=F64)}
    start = process.corrupt(x, as_time(0.0), rng=rng)
    assert torch.equal(start.x_t["x"], x["x"])
    torch.testing.assert_close(start.x_t["v"], 0.1 * start.noise["v"])
    with pytest.raises(Unsupported, match="singular at t = 0"):
        process.whiten(x, as_time(0.0))
    with pytest.raises(Unsupported, match="use diffuse"):
        process.diffusion(as_time(0.5))


def test_learned_matrices():
    for settings in ({"variables": 3}, {"full": True, "variables": 3}, {"full": True, "trace": 2.0}):
        process = learned(**settings)
        Q, D = process.drift_and_noise()
        assert torch.equal(Q, -Q.T)
        assert (torch.linalg.eigvalsh(D) > 0).all()
        if "trace" in settings:
            assert abs(float(D.detach().trace()) - 2) < 1e-12
        _, L = process.moments(as_time([0.0, 0.1, 1.0]))
        slopes = torch.autograd.grad(L[1:].square().sum(), list(process.parameters()))
        assert all(s.isfinite().all() and (s != 0).any() for s in slopes)
    assert learned().K == 2


def test_gradients_in_the_matrices_are_those_of_differences():
    process, t = learned(full=True, trace=2.0).double(), as_time([0.05, 0.7])
    for p in process.parameters():

        def value():
            phi, L = process.moments(t)
            return (phi * 0.3 + L).sin().sum()

        (slope,) = torch.autograd.grad(value(), p)
        numeric = torch.zeros_like(p)
        with torch.no_grad():
            for i in range(p.numel()):
                was, both = p.view(-1)[i].clone(), []
                for h in (1e-6, -1e-6):
                    p.view(-1)[i] = was + h
                    both.append(value())
                p.view(-1)[i] = was
                numeric.view(-1)[i] = (both[0] - both[1]) / 2e-6
        torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-7)


def test_what_is_refused():
    with pytest.raises(SpecError, match="Q: expected an antisymmetric matrix"):
        LinearSde(Q=((0.0, 1.0), (1.0, 0.0)))
    with pytest.raises(SpecError, match="D: expected a positive semidefinite matrix"):
        LinearSde(D=((1.0, 2.0), (2.0, 1.0)))
    with pytest.raises(SpecError, match="Q: expected a square matrix"):
        LinearSde(Q=((0.0, 1.0),))
    with pytest.raises(SpecError, match="one size, got 2 and 1"):
        LinearSde(D=((1.0,),))
    with pytest.raises(SpecError, match="M must be above 0"):
        LinearSde(M=-1.0)
    with pytest.raises(SpecError, match="beta_max must be below"):
        LinearSde(beta_max=math.inf)
    x = torch.zeros(3, 2)
    with pytest.raises(InvalidInput, match="leaves x, v, got a tensor"):
        cld().mean(x, as_time(0.5))
    with pytest.raises(InvalidInput, match=r"leaves x, v, v2, got \['v', 'x'\]"):
        malda().mean({"x": x, "v": x}, as_time(0.5))
    with pytest.raises(InvalidInput, match=r"\(2,\) does not fit a state of shape \(3, 2\)"):
        cld().mean({"x": x, "v": x}, as_time([0.2, 0.5]))
