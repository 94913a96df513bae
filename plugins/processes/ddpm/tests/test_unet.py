import math

import pytest
import torch
from suffuse_ddpm.discrete import Discrete
from suffuse_ddpm.layers import Attention, normalize, sinusoids
from suffuse_ddpm.parameterization import Eps
from suffuse_ddpm.progressive import Progressive
from suffuse_ddpm.unet import UNet

from suffuse.contracts.condition import Condition
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput, SpecError
from suffuse.parts import Range
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.fitting import seeded


@seeded(0)
def small(**settings):
    net = UNet(**{"channels": 1, "width": 8, "multipliers": (1, 2), "attention": (1,), "dropout": 0.0, **settings})
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return net


def test_the_published_network_has_35_7_million_parameters():
    with torch.device("meta"):
        net = UNet()
    assert sum(p.numel() for p in net.parameters()) == 35_746_307


def test_the_published_large_network():
    with torch.device("meta"):
        net = UNet(multipliers=(1, 1, 2, 2, 4, 4), attention=(4,), dropout=0.0)
    # 114M in appendix B
    assert round(sum(p.numel() for p in net.parameters()) / 1e6) == 114


def test_it_starts_at_zero():
    net = UNet(channels=1, width=8, multipliers=(1, 2))
    assert not net(torch.randn(2, 1, 8, 8), torch.rand(2), Condition()).any()


def test_groups_are_the_published_ones_and_adapt():
    assert normalize(128, 32).num_groups == 32
    assert normalize(384, 32).num_groups == 32
    assert normalize(32, 32).num_groups == 8
    assert normalize(12, 32).num_groups == 1


def test_embedding():
    c = torch.tensor([0.0, 3.0, 999.0])
    w = torch.exp(-math.log(10000) * torch.arange(4) / 3)
    torch.testing.assert_close(sinusoids(c, 8), torch.cat([torch.sin(c[:, None] * w), torch.cos(c[:, None] * w)], 1))
    assert sinusoids(c.bfloat16(), 8).dtype == torch.float32


@pytest.mark.parametrize("heads", [1, 2])
@seeded(0)
def test_attention_is_softmax_attention(heads):
    layer = Attention(8, heads, 32).double()
    torch.nn.init.normal_(layer.out.weight)
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, dim=1)
    parts = []
    for q_, k_, v_ in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True):
        weight = torch.einsum("bci,bcj->bij", q_, k_).div((8 // heads) ** 0.5).softmax(-1)
        parts.append(torch.einsum("bij,bcj->bci", weight, v_))
    expected = x + layer.out(torch.cat(parts, 1).view_as(x))
    torch.testing.assert_close(layer(x, None), expected)


def test_attention_starts_as_three_layers():
    layer = Attention(64, 1, 32)
    limit = (6 / 128) ** 0.5
    assert limit * 0.98 < float(layer.qkv.weight.abs().max()) <= limit


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 7, 8), (2, 1, 8, 9), (2, 1, 64), (2, 1, 0, 8)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(InvalidInput, match=r"\(batch, 1, H, W\)"):
        small()(torch.zeros(shape), torch.zeros(2), Condition())


def test_sides_need_not_be_equal():
    assert small()(torch.zeros(2, 1, 8, 12), torch.zeros(2), Condition()).shape == (2, 1, 8, 12)


def test_wrong_noise_levels_are_refused():
    with pytest.raises(InvalidInput, match="c_noise"):
        small()(torch.zeros(2, 1, 8, 8), torch.zeros(3), Condition())


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"width": 10}, "width"),
        ({"heads": 3}, "heads"),
        ({"attention": (2,)}, "attention"),
        ({"multipliers": ()}, "multipliers"),
        ({"multipliers": (1, 0)}, "multipliers"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_settings_are_checked(settings, name):
    with pytest.raises(SpecError, match=name):
        small(**settings)


def test_labels():
    net = small(classes=3)
    assert net.gives == {"conditional"}
    assert small().gives == frozenset()
    x, c = torch.randn(3, 1, 8, 8), torch.zeros(3)
    cond = Condition(label=torch.tensor([0, 1, 2]))
    nothing = net(x, c, Condition())
    torch.testing.assert_close(net(x, c, cond.drop()), nothing)
    mixed = net(x, c, cond.drop(where=torch.tensor([False, True, False])))
    torch.testing.assert_close(mixed[1], nothing[1])
    torch.testing.assert_close(mixed[::2], net(x, c, cond)[::2])
    assert not torch.allclose(net(x, c, cond), nothing)
    with pytest.raises(InvalidInput, match="label"):
        net.check(Condition(label=torch.tensor([3])))
    with pytest.raises(InvalidInput, match="no condition"):
        small().check(cond)


def test_the_bottleneck_can_be_read_and_edited():
    net = small()
    x, c = torch.randn(2, 1, 8, 8), torch.zeros(2)
    h = net.features(x, c, Condition(), at=["middle"])["middle"]
    assert h.shape == (2, 16, 4, 4)
    with net.edited({"middle": lambda block, h, e: block(h, e) + 1}):
        moved = net(x, c, Condition())
    assert not torch.allclose(moved, net(x, c, Condition()))


def test_two_channels_out_for_one_in():
    assert small(outputs=2)(torch.zeros(2, 1, 8, 8), torch.zeros(2), Condition()).shape == (2, 2, 8, 8)


def test_half_precision_and_images_through_a_system():
    net = small().bfloat16()
    model = Preconditioned(backbone=net, parameterization=Eps(), trained=Discrete(T=30))
    system = System(model=model, space=Euclidean(shape=(1, 8, 8)), codec=Range(low=0.0, high=16.0))
    data = torch.randint(0, 17, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    found = Progressive(levels=17, columns=5, lines=2).run(system, {"data": data}, Rng.of(0, 3))
    picture = found.pictures["decoding"]
    assert picture.shape == (1, 16, 48)  # two lines; five columns and the data
    torch.testing.assert_close(picture[0, :8, 40:], data[0, 0] / 16)
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1
    assert found.tables["decoding"][-1] == {"step": 0, "t": 0.0, "rate": found.metrics["lossless"], "distortion": 0.0}
