"""The transformer: shapes, sizes, exact symmetries, the start at zero."""

import pytest
import torch
import torch.nn.functional as F
from suffuse_dit.backbone import DiT
from suffuse_dit.blocks import NoiseEmbedding
from suffuse_dit.claims import Sizes, ZeroStart
from suffuse_dit.official import from_official
from suffuse_dit.patches import patchify, sincos_positions, unpatchify
from suffuse_dit.presets import PRESETS

from suffuse.contracts.condition import Condition
from suffuse.errors import InvalidInput, SpecError, WeightsError


def network(*, stirred=True, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        defaults = {"channels": 3, "size": (8, 4), "patch": 2, "width": 32, "depth": 3, "heads": 4, "classes": 5}
        net = DiT(**{**defaults, **settings}).double()
        if stirred:  # the zeros of the start would hide everything
            for p in net.parameters():
                torch.nn.init.normal_(p, std=0.2)
    return net


def inputs(n=6, shape=(3, 8, 4)):
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(n, *shape, generator=rng, dtype=torch.float64)
    return x, torch.linspace(0, 999, n, dtype=torch.float64), Condition(label=torch.arange(n) % 5)


@pytest.mark.parametrize(("shape", "p"), [((3, 8, 4), 2), ((1, 6, 9), 3), ((4, 8, 8), 8), ((2, 5, 3), 1)])
def test_unpatchify_inverts_patchify(shape, p):
    x = torch.randn(2, *shape)
    tokens = patchify(x, p)
    assert tokens.shape == (2, shape[1] * shape[2] // p**2, p * p * shape[0])
    assert torch.equal(unpatchify(tokens, p, shape[1:]), x)


def test_a_token_is_one_patch_row_by_row():
    x = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    assert patchify(x, 2)[0, 4].tolist() == x[0, :, 2:4, 2:4].permute(1, 2, 0).flatten().tolist()


def test_positions_are_the_published_sinusoids():
    table = sincos_positions(3, 5, 16)
    assert table.shape == (15, 16)
    omega = torch.tensor([1.0, 0.1, 0.01, 0.001], dtype=torch.float64)
    row, column = 2, 3
    parts = [f(n * omega) for n in (column, row) for f in (torch.sin, torch.cos)]
    torch.testing.assert_close(table[row * 5 + column], torch.cat(parts).float())


def test_noise_levels_enter_as_256_sinusoids():
    embedding = NoiseEmbedding(256)
    embedding.mlp = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity(), torch.nn.Identity())
    embedding.mlp[0].weight = torch.zeros(1)  # the layer's dtype
    out = embedding(torch.tensor([0.0, 700.0]))
    assert torch.equal(out[0], torch.cat([torch.ones(128), torch.zeros(128)]))
    angle = 700 * 10000 ** (-17 / 128)
    # Angles are float32: an error of 700 * 2^-23.
    torch.testing.assert_close(out[1, [17, 145]], torch.tensor([angle, angle - torch.pi / 2]).cos(), rtol=0, atol=3e-4)


@pytest.mark.parametrize("classes", [0, 5])
def test_the_output_is_zero_at_the_start(classes):
    net = network(stirred=False, classes=classes)
    x, c_noise, cond = inputs()
    out = net(x, c_noise, cond if classes else Condition())
    assert out.shape == x.shape
    assert torch.equal(out, torch.zeros_like(x))


def test_blocks_are_identities_at_the_start():
    assert ZeroStart().measure(0).effect > 0
    assert ZeroStart().measure(0, sabotage=True).effect < 0


def test_published_sizes():
    counts = {k: round(v * 1e6) for k, v in Sizes().measure(0).numbers.items()}
    # The counts of the authors' models.py (commit ed81ce2), trainable parameters.
    assert counts == {
        "S/2": 32865056, "S/4": 32920448, "S/8": 33142016, "B/2": 130315808, "B/4": 130426496, "B/8": 130869248,
        "L/2": 457840672, "L/4": 457988224, "L/8": 458578432, "XL/2": 674834720, "XL/4": 675000704, "XL/8": 675664640,
    }  # fmt: skip
    assert Sizes().measure(0).effect > 0
    assert Sizes().measure(0, sabotage=True).effect < 0


def test_output_channels_and_sizes():
    x, c_noise, cond = inputs(2, (1, 6, 12))
    net = network(channels=1, size=(6, 12), patch=3, out_channels=2, mlp_ratio=2.0)
    assert net(x, c_noise, cond).shape == (2, 2, 6, 12)


def test_relabelling_classes_changes_nothing():
    net, (x, c_noise, cond) = network(), inputs()
    before = net(x, c_noise, cond)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        net.labels.weight[:5] = net.labels.weight[:5][order.argsort()]
    assert torch.equal(net(x, c_noise, Condition(label=order.argsort().argsort()[cond["label"]])), before)
    assert not torch.equal(net(x, c_noise, cond), before)


def test_absent_labels_are_the_null_class():
    net, (x, c_noise, cond) = network(), inputs()
    mixed = net(x, c_noise, cond.drop(where=torch.arange(6) < 3))
    torch.testing.assert_close(mixed[:3], net(x, c_noise, Condition())[:3], rtol=0, atol=1e-12)
    torch.testing.assert_close(mixed[3:], net(x, c_noise, cond)[3:], rtol=0, atol=1e-12)


def test_rows_are_independent():
    net, (x, c_noise, cond) = network(), inputs(4)  # as many rows as a side
    whole = net(x, c_noise, cond)
    for i in range(4):
        one = net(x[i : i + 1], c_noise[i : i + 1], cond.index(slice(i, i + 1)))
        torch.testing.assert_close(one, whole[i : i + 1], rtol=0, atol=1e-10)


def test_blocks_do_not_know_the_order_of_tokens():
    block = network().blocks["block0"]
    x, c = torch.randn(2, 7, 32, dtype=torch.float64), torch.randn(2, 32, dtype=torch.float64)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x[:, order], c), block(x, c)[:, order], rtol=0, atol=1e-10)


def test_features_are_tokens():
    net, (x, c_noise, cond) = network(), inputs()
    kept = net.features(x, c_noise, cond, at=["block0", "block2"])
    assert {k: tuple(v.shape) for k, v in kept.items()} == {"block0": (6, 8, 32), "block2": (6, 8, 32)}
    with pytest.raises(InvalidInput, match="block0, block1, block2"):
        net.features(x, c_noise, cond, at=["block3"])


def test_edits_act_and_are_undone():
    net, args = network(), inputs()
    before = net(*args)
    with net.edited({"block1": lambda block, x, c: x}):
        skipped = net(*args)
    assert not torch.allclose(skipped, before)
    assert torch.equal(net(*args), before)
    halves = {"block1": lambda block, x, c: torch.cat([block(x[:, :4], c), x[:, 4:]], dim=1)}
    with net.edited(halves):
        assert net(*args).isfinite().all()  # on a subset of the tokens


def test_noise_scale_is_a_factor_of_c_noise():
    x, c_noise, cond = inputs()
    torch.testing.assert_close(network(noise_scale=1000.0)(x, c_noise / 1000, cond), network()(x, c_noise, cond))


def test_official_names_load_and_patches_are_a_convolution():
    net = network(out_channels=6)
    official = official_shapes(width=32, depth=3, p=2, channels=3, classes=5, out=6, tokens=8)
    net.load_state_dict(from_official(official))
    x = torch.randn(2, 3, 8, 4, dtype=torch.float64)
    convolved = F.conv2d(x, official["x_embedder.proj.weight"], official["x_embedder.proj.bias"], stride=2)
    torch.testing.assert_close(net.embed(patchify(x, 2)), convolved.flatten(2).mT)
    assert torch.equal(net.blocks["block1"].mlp[2].weight, official["blocks.1.mlp.fc2.weight"])
    with pytest.raises(WeightsError, match="x_embedder"):
        from_official({"embed.weight": x})


def official_shapes(width, depth, p, channels, classes, out, tokens):
    rng, w = torch.Generator().manual_seed(0), width
    linear = {
        "t_embedder.mlp.0": (w, 256), "t_embedder.mlp.2": (w, w),
        "final_layer.linear": (p * p * out, w), "final_layer.adaLN_modulation.1": (2 * w, w),
    }  # fmt: skip
    sizes = {"attn.qkv": (3 * w, w), "attn.proj": (w, w), "mlp.fc1": (4 * w, w), "mlp.fc2": (w, 4 * w)}
    sizes["adaLN_modulation.1"] = (6 * w, w)
    linear |= {f"blocks.{i}.{k}": v for i in range(depth) for k, v in sizes.items()}
    shapes = {f"{k}.weight": v for k, v in linear.items()} | {f"{k}.bias": v[:1] for k, v in linear.items()}
    shapes |= {"x_embedder.proj.weight": (w, channels, p, p), "x_embedder.proj.bias": (w,)}
    shapes |= {"y_embedder.embedding_table.weight": (classes + 1, w), "pos_embed": (1, tokens, w)}
    return {k: torch.randn(v, generator=rng, dtype=torch.float64) for k, v in shapes.items()}


def test_bad_input_is_refused():
    net, (x, c_noise, cond) = network(), inputs()
    with pytest.raises(InvalidInput, match=r"\(batch, 3, 8, 4\).*\(6, 3, 4, 8\)"):
        net(x.mT, c_noise, cond)
    with pytest.raises(InvalidInput, match="c_noise"):
        net(x, c_noise[:3], cond)
    with pytest.raises(InvalidInput, match=r"\[0, 5\)"):
        net.check(Condition(label=torch.tensor([5])))
    with pytest.raises(InvalidInput, match="no condition"):
        network(classes=0).check(cond)
    for wrong in ({"size": (8, 5)}, {"size": (8,)}, {"heads": 5}, {"width": 30, "heads": 5}, {"depth": 0}):
        with pytest.raises(SpecError, match=r"size|width|depth"):
            network(**wrong)


def test_presets_are_settings():
    with torch.device("meta"):
        net = DiT(**PRESETS["S/8"], size=(64, 32))
    assert net.positions.shape == (32, 384)
    assert len(net.blocks) == 12
