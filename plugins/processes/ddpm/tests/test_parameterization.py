import pytest
import torch
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.parameterization import X0, Eps, Score, V

from suffuse.contracts.condition import Condition
from suffuse.contracts.network import Backbone
from suffuse.contracts.part import module
from suffuse.contracts.prediction import Mean
from suffuse.errors import Unsupported
from suffuse.preconditioned import Preconditioned

F64 = torch.float64


@pytest.mark.parametrize("process", [Linear(), Cosine(), Discrete()])
def test_readings_agree_whatever_the_network_says(process):
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 20, 5, dtype=F64, generator=g)
    t = torch.linspace(0.05, 0.95, 20, dtype=F64)
    alpha, sigma = (w[:, None] for w in process.scalars(t))
    slope = process.derivative(t)
    truth = {
        "x0": x0,
        "eps": eps,
        "v": alpha * eps - sigma * x0,
        "score": -eps / sigma,
        "velocity": slope.alpha[:, None] * x0 + slope.sigma[:, None] * eps,
    }
    outputs = {Eps: "eps", X0: "x0", V: "v", Score: "score"}
    for kind, name in outputs.items():
        mix = kind().mix(process, t)
        said = Mean(value=truth[name], x_t=alpha * x0 + sigma * eps, t=t, process=process, mix=mix)
        for reading, expected in truth.items():
            # sigma/alpha is at most 1/alpha_0.95 < 140 here; the score is at most 1/sigma_0.05 times larger.
            torch.testing.assert_close(getattr(said, reading), expected, rtol=1e-9, atol=1e-9)


def test_published_networks_get_their_index():
    chain = Discrete()
    for kind in (Eps, X0, V, Score):
        scaling = kind().scaling(chain, chain.time_of(torch.tensor([1, 2, 500, 1000])))
        assert scaling.c_in == 1
        assert scaling.c_noise.float().tolist() == [0, 1, 499, 999]
    rescaled = Eps(shift=-0.25).scaling(Discrete(T=4000), torch.tensor([1, 2, 4000], dtype=F64) / 4000)
    assert rescaled.c_noise.float().tolist() == [0, 0.25, 999.75]


def test_there_is_no_score_at_zero():
    with pytest.raises(Unsupported, match="t = 0"):
        Score().mix(Linear(), torch.zeros((), dtype=F64))


@module
class Told(Backbone):
    """Says c_noise."""

    def __attrs_post_init__(self):
        self.blocks = torch.nn.ModuleDict({"one": torch.nn.Linear(1, 1)})

    def forward(self, x, c_noise, cond):
        return c_noise[:, None].expand_as(x)


def test_a_network_is_told_the_time_of_its_own_schedule():
    model = Preconditioned(backbone=Told(), parameterization=Eps(), trained=Linear())
    t = torch.tensor(0.4, dtype=F64)
    said = model(torch.zeros(2, 3), t, Condition(), process=Cosine()).value
    own = Linear().time(Cosine().log_snr(t))
    torch.testing.assert_close(said, torch.full((2, 3), float(1000 * own - 1)))
