"""The residual MLP: shapes, symmetries, features, and that it learns."""

import math

import pytest
import torch
from suffuse_mlp.backbone import Mlp
from suffuse_mlp.claims import Denoises, Features

from suffuse.contracts.condition import Condition
from suffuse.errors import InvalidInput, SpecError


def network(*, stirred=True, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Mlp(**{"shape": (3,), "width": 24, "depth": 2, "frequencies": 8, "classes": 4, **settings}).double()
        if stirred:  # the zeros of the start would hide everything
            for p in net.parameters():
                torch.nn.init.normal_(p, std=0.3)
    return net.eval()


def inputs(n=6, shape=(3,)):
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, torch.linspace(-1, 1, n, dtype=torch.float64), Condition(label=torch.arange(n) % 4)


def test_the_output_is_zero_at_the_start():
    x, c_noise, cond = inputs()
    assert torch.equal(network(stirred=False)(x, c_noise, cond), torch.zeros_like(x))


def test_events_are_flattened_inside():
    x, c_noise, cond = inputs(5, (2, 3))
    out = network(shape=(2, 3))(x, c_noise, cond)
    assert out.shape == x.shape
    assert torch.equal(network(shape=(6,))(x.flatten(1), c_noise, cond), out.flatten(1))


def test_the_output_may_have_other_channels_than_the_state():
    net = Mlp(shape=(2, 3), width=8, depth=1, outputs=5)
    assert net(torch.zeros(4, 2, 3), torch.zeros(4), Condition()).shape == (4, 5, 3)


@pytest.mark.parametrize("n", [3, 6, 24])  # also as many rows as dimensions and as hidden units
def test_rows_are_independent(n):
    net, (x, c_noise, cond) = network(), inputs(n)
    whole = net(x, c_noise, cond)
    for i in range(n):
        one = net(x[i : i + 1], c_noise[i : i + 1], cond.index(slice(i, i + 1)))
        torch.testing.assert_close(one, whole[i : i + 1], rtol=0, atol=1e-10)


def test_noise_enters_by_fourier_features_alone():
    net, (x, c_noise, cond) = network(), inputs()
    net.f.fill_(1.0)  # whole turns per unit of c_noise
    torch.testing.assert_close(net(x, c_noise + 3, cond), net(x, c_noise, cond), rtol=0, atol=1e-10)
    assert not torch.allclose(net(x, c_noise + 0.5, cond), net(x, c_noise, cond))


def test_frequencies_follow_their_seed_and_bandwidth_and_are_saved():
    wide = Mlp(frequencies=4096, bandwidth=3.0)
    assert torch.equal(wide.f, Mlp(frequencies=4096, bandwidth=3.0).f)
    assert not torch.equal(wide.f, Mlp(frequencies=4096, bandwidth=3.0, frequency_seed=1).f)
    # The standard error of a standard deviation is std / sqrt(2 n).
    assert abs(wide.f.std() - 3.0) < 5 * 3.0 / math.sqrt(2 * 4096)
    assert "f" in wide.state_dict()
    assert not wide.f.requires_grad


def test_a_global_seed_has_no_part_in_the_frequencies():
    before = torch.get_rng_state()
    f = Mlp().f
    torch.set_rng_state(before)
    torch.rand(7)
    assert torch.equal(Mlp().f, f)


def test_absent_labels_are_the_null_class():
    net, (x, c_noise, cond) = network(), inputs()
    mixed = net(x, c_noise, cond.drop(where=torch.arange(6) < 3))
    torch.testing.assert_close(mixed[:3], net(x, c_noise, Condition())[:3], rtol=0, atol=1e-12)
    torch.testing.assert_close(mixed[3:], net(x, c_noise, cond)[3:], rtol=0, atol=1e-12)


def test_dropout_acts_in_training_only():
    net, args = network(dropout=0.5), inputs()
    assert torch.equal(net(*args), net(*args))
    net.train()
    assert not torch.equal(net(*args), net(*args))


def test_blocks_can_be_read_skipped_and_are_restored():
    net, args = network(), inputs()
    before = net(*args)
    assert net.features(*args, at=["block1"])["block1"].shape == (6, 24)
    with net.edited({"block0": lambda block, h, c: h}):
        assert not torch.allclose(net(*args), before)
    assert torch.equal(net(*args), before)
    with pytest.raises(InvalidInput, match="block0, block1"):
        net.features(*args, at=["block9"])


def test_features_resolve_fast_functions():
    assert Features().measure(0).effect > Features.margin
    assert Features().measure(0, sabotage=True).effect <= Features.margin


def test_it_approaches_the_exact_denoiser():
    assert Denoises().measure(0).effect > Denoises.margin


def test_bad_input_is_refused():
    net, (x, c_noise, cond) = network(), inputs()
    with pytest.raises(InvalidInput, match=r"\(batch, 3\).*\(6, 2\)"):
        net(x[:, :2], c_noise, cond)
    with pytest.raises(InvalidInput, match="c_noise"):
        net(x, c_noise[:1], cond)
    with pytest.raises(InvalidInput, match=r"\[0, 4\)"):
        net.check(Condition(label=torch.tensor([4])))
    for wrong in ({"shape": ()}, {"shape": (0,)}, {"width": 0}, {"dropout": 1.0}, {"bandwidth": 0.0}):
        with pytest.raises(SpecError, match=next(iter(wrong))):
            Mlp(**wrong)
