import pytest
import torch
from suffuse_adm.half_unet import HalfUNet
from suffuse_adm.layers import Attention, AttentionPool, Residual, sinusoids
from suffuse_adm.published import CLASSIFIERS, IDDPM, UNETS, parameters
from suffuse_adm.unet import UNet
from torch.nn import functional as F

from suffuse.contracts.condition import Condition
from suffuse.errors import InvalidInput, SpecError
from suffuse.testing.fitting import seeded

SMALL = {"channels": 1, "width": 8, "multipliers": (1, 2), "depth": 1, "attention": (1,), "head_width": 4, "groups": 4}


@seeded(0)
def stirred(net):
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return net.double().eval()


def small(**settings):
    return stirred(UNet(**{**SMALL, "outputs": 2, "classes": 3, **settings}))


@pytest.mark.parametrize(
    ("network", "published", "settings"),
    [(UNet, *UNETS[64]), (UNet, *UNETS[512]), (HalfUNet, *CLASSIFIERS[256]), (UNet, *IDDPM["cifar10"])],
)
def test_published_parameter_counts(network, published, settings):
    assert parameters(network, settings) == published


def test_an_unconditional_network_has_no_label_embedding():
    assert parameters(UNet, {"classes": 0}) == UNETS[256][0] - 1000 * 1024


def test_it_starts_at_zero():
    net = UNet(**SMALL)
    assert not net(torch.randn(2, 1, 8, 8), torch.rand(2), Condition(label=torch.tensor([0, 1]))).any()


def test_embedding():
    c = torch.tensor([0.0, 3.0, 999.0])
    w = 10000.0 ** (-torch.arange(4) / 4)
    torch.testing.assert_close(sinusoids(c, 8), torch.cat([torch.cos(c[:, None] * w), torch.sin(c[:, None] * w)], 1))
    assert sinusoids(c.bfloat16(), 8).dtype == torch.float32


@pytest.mark.parametrize("way", ["same", "up", "down"])
@pytest.mark.parametrize("scale_shift", [True, False])
def test_a_residual_block_is_its_formula(way, scale_shift):
    """AdaGN(h, e) = (1 + y_s) GroupNorm(h) + y_b; BigGAN resamples the input, and before the first convolution."""
    block = stirred(Residual(8, 12, 6, 4, 0.0, way=way, scale_shift=scale_shift, rescale=False))
    x, e = torch.randn(2, 8, 4, 6).double(), torch.randn(2, 6).double()
    resample = {
        "same": lambda v: v,
        "up": lambda v: v.repeat_interleave(2, 2).repeat_interleave(2, 3),
        "down": lambda v: v.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2)),
    }[way]
    h = block.conv1(resample(F.silu(F.group_norm(x, 4, block.norm1.weight, block.norm1.bias))))
    told = block.embed(F.silu(e))[:, :, None, None]
    if scale_shift:
        h = (1 + told[:, :12]) * F.group_norm(h, 4, block.norm2.weight, block.norm2.bias) + told[:, 12:]
    else:
        h = F.group_norm(h + told, 4, block.norm2.weight, block.norm2.bias)
    expected = block.skip(resample(x)) + block.conv2(F.silu(h))
    torch.testing.assert_close(block(x, e), expected)
    halved = Residual(8, 12, 6, 4, 0.0, way=way, scale_shift=scale_shift, rescale=True).double()
    halved.load_state_dict(block.state_dict())
    torch.testing.assert_close(halved(x, e), expected / 2**0.5)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_is_softmax_attention(heads):
    layer = stirred(Attention(8, heads, 4))
    x = torch.randn(2, 8, 3, 5).double()
    q, k, v = layer.qkv(layer.norm(x)).flatten(2).chunk(3, dim=1)
    parts = []
    for q_, k_, v_ in zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1), strict=True):
        weight = torch.einsum("bci,bcj->bij", q_, k_).div((8 // heads) ** 0.5).softmax(-1)
        parts.append(torch.einsum("bij,bcj->bci", weight, v_))
    torch.testing.assert_close(layer(x, None), x + layer.out(torch.cat(parts, 1).view_as(x)))


def test_attention_pooling_asks_from_the_mean():
    pool = stirred(AttentionPool(8, 6, 2, 5))
    x = torch.randn(2, 8, 2, 3).double()
    tokens = torch.cat([x.flatten(2).mean(2, keepdim=True), x.flatten(2)], 2) + pool.positions
    q, k, v = pool.qkv(tokens).chunk(3, dim=1)
    parts = []
    for q_, k_, v_ in zip(q.chunk(2, 1), k.chunk(2, 1), v.chunk(2, 1), strict=True):
        weight = torch.einsum("bc,bcj->bj", q_[:, :, 0], k_).div(2.0).softmax(-1)
        parts.append(torch.einsum("bj,bcj->bc", weight, v_))
    torch.testing.assert_close(pool(x), pool.out(torch.cat(parts, 1)[:, :, None])[:, :, 0])


def test_labels_are_added_and_absent_ones_are_not():
    net, x, c = small(), torch.randn(3, 1, 8, 8).double(), torch.zeros(3).double()
    cond = Condition(label=torch.tensor([0, 1, 2]))
    assert net.gives == {"conditional"}
    assert small(classes=0).gives == frozenset()
    nothing = net(x, c, Condition())
    torch.testing.assert_close(net(x, c, cond.drop()), nothing)
    mixed = net(x, c, cond.drop(where=torch.tensor([False, True, False])))
    torch.testing.assert_close(mixed[1], nothing[1])
    torch.testing.assert_close(mixed[::2], net(x, c, cond)[::2])
    with pytest.raises(InvalidInput, match="no condition"):
        small(classes=0).check(cond)


@pytest.mark.parametrize("resample", ["residual", "conv"])
def test_sides_need_not_be_equal_for_the_unet(resample):
    net = small(resample=resample, multipliers=(0.5, 1), groups=2)
    out = net(torch.zeros(2, 1, 8, 12).double(), torch.zeros(2).double(), Condition())
    assert out.shape == (2, 2, 8, 12)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 7, 8), (2, 1, 64), (2, 1, 0, 8)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(InvalidInput, match=r"\(batch, 1, H, W\)"):
        small()(torch.zeros(shape).double(), torch.zeros(2).double(), Condition())
    half = HalfUNet(**SMALL, side=16, classes=3)
    with pytest.raises(InvalidInput, match="H = W = 16"):
        half(torch.zeros(shape), torch.zeros(2), Condition())
    with pytest.raises(InvalidInput, match="c_noise"):
        half(torch.zeros(2, 1, 16, 16), torch.zeros(3), Condition())


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"width": 9, "groups": 3}, "even"),
        ({"groups": 3}, "groups"),
        ({"head_width": 5}, "head_width"),
        ({"heads": 3}, "heads"),
        ({"attention": (2,)}, "attention"),
        ({"multipliers": ()}, "multipliers"),
        ({"multipliers": (1, 0)}, "multipliers"),
        ({"dropout": 1.0}, "dropout"),
        ({"resample": "bilinear"}, "resample"),
    ],
)
def test_settings_are_checked(settings, name):
    with pytest.raises(SpecError, match=name):
        small(**settings)


def test_the_side_must_halve():
    with pytest.raises(SpecError, match="side"):
        HalfUNet(**SMALL, side=9, classes=3)
