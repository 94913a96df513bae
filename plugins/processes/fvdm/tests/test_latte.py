import pytest
import torch
from suffuse_dit.backbone import DiT
from suffuse_dit.presets import PRESETS
from suffuse_fvdm.latte import Latte

from suffuse.contracts.condition import Condition
from suffuse.errors import InvalidInput, SpecError
from suffuse.testing.fitting import seeded


def stirred():
    with seeded(0):
        net = Latte(frames=3, channels=2, size=(4, 2), width=16, depth=4, heads=2, classes=2)
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.2)
    return net.double().eval().requires_grad_(False)


def video(n=3, frames=3):
    return torch.randn(n, frames, 2, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_equal_levels_are_one_level():
    net, x, level = stirred(), video(), torch.tensor([3.0, 500.0, 999.0], dtype=torch.float64)
    one, many = net(x, level, Condition()), net(x, level[:, None].repeat(1, 3), Condition())
    torch.testing.assert_close(one, many, rtol=0, atol=1e-12)


def test_each_frames_level_matters_to_all_frames():
    net, x, levels = stirred(), video(), torch.full((3, 3), 400.0, dtype=torch.float64)
    other = levels.clone()
    other[:, 1] = 20.0
    moved = (net(x, levels, Condition()) - net(x, other, Condition())).abs().flatten(2).amax(2)
    assert bool((moved > 1e-6).all())


def test_rows_of_vectors_are_independent():
    net, x = stirred(), video()
    levels = torch.linspace(0, 900, 9, dtype=torch.float64).view(3, 3)
    label = Condition(label=torch.tensor([0, 1, 0]))
    whole = net(x, levels, label)
    for i in range(3):
        at = slice(i, i + 1)
        torch.testing.assert_close(net(x[at], levels[at], label.index(at)), whole[at], rtol=0, atol=1e-12)


def test_without_its_blocks_in_time_frames_do_not_see_each_other():
    net, x = stirred(), video()
    moved = x.clone()
    moved[:, 0] += 1
    level = torch.full((3,), 100.0, dtype=torch.float64)
    skip = {name: lambda block, h, c: h for name in net.blocks if name.startswith("time")}
    with net.edited(skip):
        same = net(x, level, Condition())[:, 1:] - net(moved, level, Condition())[:, 1:]
    full = net(x, level, Condition())[:, 1:] - net(moved, level, Condition())[:, 1:]
    assert float(same.abs().max()) == 0
    assert float(full.abs().max()) > 1e-6


def test_it_is_as_large_as_the_image_transformer_of_its_size():
    with torch.device("meta"):
        for name in ("S/2", "XL/2"):
            sizes = [sum(p.numel() for p in net(**PRESETS[name]).parameters()) for net in (Latte, DiT)]
            assert sizes[0] == sizes[1]


def test_it_starts_at_zero():
    net = Latte(frames=2, channels=1, size=(2, 2), width=16, depth=2, heads=2)
    assert torch.equal(net(torch.ones(1, 2, 1, 2, 2), torch.ones(1), Condition()), torch.zeros(1, 2, 1, 2, 2))


def test_bad_input():
    with pytest.raises(SpecError, match=r"even.*3"):
        Latte(depth=3)
    with pytest.raises(SpecError, match="patch=2"):
        Latte(size=(5, 4))
    with pytest.raises(InvalidInput, match=r"\(batch, 3\).*\(3, 2\)"):
        stirred()(video(), torch.zeros(3, 2), Condition())
    with pytest.raises(InvalidInput, match=r"\(3, 4, 2, 4, 2\)"):
        stirred()(video(frames=4), torch.zeros(3), Condition())
