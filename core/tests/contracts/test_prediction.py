"""The one converter, against the definitions of each reading."""

import attrs
import pytest
import torch

from suffuse.contracts.prediction import Draw, Endpoint, Field, Logits, Mean, Variance
from suffuse.errors import Unsupported
from suffuse.testing.stand_ins import Circle, Explosion

F64 = torch.float64
MIXES = {
    "x0": lambda p, t: (1.0, 0.0),
    "eps": lambda p, t: (0.0, 1.0),
    "v": lambda p, t: (-p.scalars(t)[1], p.scalars(t)[0]),
    "velocity": lambda p, t: (p.derivative(t).alpha, p.derivative(t).sigma),
    "score": lambda p, t: (0.0, -1 / p.scalars(t)[1]),
    "edm": lambda p, t: (p.scalars(t)[1] * 2, -p.scalars(t)[0] / 3),
}


def values(process, t, x0, eps):
    a, s = (w[:, None] for w in process.scalars(t))
    d = process.derivative(t)
    return {
        "x0": x0,
        "eps": eps,
        "v": a * eps - s * x0,
        "velocity": d.alpha[:, None] * x0 + d.sigma[:, None] * eps,
        "score": -eps / s,
    }


@pytest.mark.parametrize("process", [Circle(), Explosion()], ids=["circle", "explosion"])
@pytest.mark.parametrize("given", MIXES)
def test_every_reading_follows_from_every_parameterization(given, process):
    t = torch.linspace(0.05, 0.95, 7, dtype=F64)
    x0, eps = torch.randn(2, 7, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    a, s = (w[:, None] for w in process.scalars(t))
    mix = MIXES[given](process, t)
    parts = [w if isinstance(w, float) else w[:, None] for w in mix]
    p = Mean(value=parts[0] * x0 + parts[1] * eps, x_t=a * x0 + s * eps, t=t, process=process, mix=mix)
    for name, expected in values(process, t, x0, eps).items():
        torch.testing.assert_close(getattr(p, name), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("mix", "t", "lost", "kept"),
    [
        ((0.0, 1.0), 1.0, ["x0", "v"], ["eps"]),  # eps loses x0 at zero SNR
        ((1.0, 0.0), 0.0, ["eps", "score"], ["x0"]),  # x0 loses eps where there is no noise
    ],
)
def test_what_is_lost_at_an_end_is_refused_and_the_rest_is_finite(mix, t, lost, kept):
    @attrs.frozen
    class Exact(Circle):
        def kernel(self, t):
            k = super().kernel(t)
            return attrs.evolve(k, alpha=torch.where(t == 1, 0.0, k.alpha))

    x = torch.ones(2, 3, dtype=F64)
    p = Mean(value=x, x_t=x, t=torch.tensor(t, dtype=F64), process=Exact(), mix=mix)
    for name in lost:
        with pytest.raises(Unsupported):
            getattr(p, name)
    for name in kept:
        assert getattr(p, name).isfinite().all()


def test_v_is_readable_at_both_ends():
    process, x = Circle(), torch.ones(2, 3, dtype=F64)
    for t in (0.0, 1.0):
        u = torch.tensor(t, dtype=F64)
        alpha, sigma = process.scalars(u)
        p = Mean(value=x, x_t=x, t=u, process=process, mix=(-sigma, alpha))
        torch.testing.assert_close(p.x0, (alpha - sigma) * x)
        torch.testing.assert_close(p.eps, (alpha + sigma) * x)


def test_other_kinds_refuse_what_they_do_not_have():
    x, t = torch.ones(2, 3), torch.tensor(0.5)
    for kind in (Endpoint, Draw):
        p = kind(value=x, x_t=x, t=t)
        assert p.x0 is x
        with pytest.raises(Unsupported, match=f"'{kind.name}' has no score"):
            _ = p.score
    assert Logits(value=x.half(), x_t=x, t=t).logits.dtype == torch.float32
    field = Field(value=x, second=2 * x, x_t=x, t=t)
    assert torch.equal(field.velocity, x)
    assert torch.equal(field.score, 2 * x)
    with pytest.raises(Unsupported, match="no velocity"):
        _ = Field(value=x, of="score", x_t=x, t=t).velocity


def test_guidance_combines_across_parameterizations_and_counts_evaluations():
    process, t = Circle(), torch.tensor(0.4, dtype=F64)
    x_t = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    a = Mean(value=x_t * 0.3, x_t=x_t, t=t, process=process, mix=(0.0, 1.0))
    b = Mean(value=x_t * 0.2, x_t=x_t, t=t, process=process)
    c = a.affine([2.5], [b])
    torch.testing.assert_close(c.eps, a.eps + 2.5 * (b.eps - a.eps))
    torch.testing.assert_close(c.x0, a.x0 + 2.5 * (b.x0 - a.x0))
    assert c.nfe == 2
    with pytest.raises(Unsupported, match="combine"):
        a.affine([1.0], [Endpoint(value=x_t, x_t=x_t, t=t)])


def test_rows_of_a_prediction_take_all_with_them():
    process, t = Circle(), torch.tensor([0.2, 0.7], dtype=F64)
    x = torch.randn(2, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    alpha, sigma = process.scalars(t)
    variance = Variance(x, of="transition")
    p = Mean(value=x, x_t=x, t=t, process=process, mix=(-sigma, alpha), variance=variance)
    q = p.index(slice(1, 2))
    torch.testing.assert_close(q.eps, p.eps[1:])
    assert torch.equal(q.variance.value, x[1:])
    clipped = p.with_x0(p.x0.clamp(-0.1, 0.1))
    torch.testing.assert_close(alpha[:, None] * clipped.x0 + sigma[:, None] * clipped.eps, x)
    assert clipped.variance is variance  # a step's variance does not follow from its mean, but x0's does
    assert attrs.evolve(p, variance=Variance(x, of="x0")).with_x0(p.x0).variance is None


def test_half_precision_is_read_in_float32():
    x = torch.ones(2, 3, dtype=torch.bfloat16)
    p = Mean(value=x, x_t=x, t=torch.tensor(0.5, dtype=F64), process=Circle())
    assert p.x0.dtype == p.eps.dtype == p.velocity.dtype == torch.float32
