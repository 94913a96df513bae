"""Features of denoisers, and what is trained on them."""

import math

import attrs
import pytest
import torch
from suffuse_ddae.claims import Affine, IndependentHeads, Rows
from suffuse_ddae.contrast import Contrast, alignment, uniformity
from suffuse_ddae.features import INPUT, X0, backbone_of, features, known, pooled
from suffuse_ddae.probe import Probe, head
from suffuse_ddae.tune import FineTune
from suffuse_ddpm.linear import Linear
from suffuse_ddpm.parameterization import Eps
from suffuse_ddpm.unet import UNet
from suffuse_dit.backbone import DiT
from suffuse_edm.process import Edm
from torch.nn import functional as F

from suffuse.contracts.condition import Condition
from suffuse.contracts.space import Euclidean
from suffuse.contracts.task import Dataset, Example
from suffuse.errors import InvalidInput, SpecError
from suffuse.preconditioned import Preconditioned
from suffuse.rng import Rng
from suffuse.system import System
from suffuse.testing.exact import mixture_system
from suffuse.testing.fitting import seeded
from suffuse.testing.mixture import GaussianMixture
from suffuse.testing.stand_ins import Circle, three

F64 = torch.float64


def network(backbone=None, process=None):
    with seeded(0):
        backbone = backbone or UNet(channels=1, width=8, multipliers=(1, 2), depth=1, attention=(1,), dropout=0.0)
        for p in backbone.parameters():  # the published initialisation has zeros
            torch.nn.init.normal_(p, std=0.2)
    model = Preconditioned(backbone=backbone, parameterization=Eps(), trained=Linear()).requires_grad_(False).eval()
    return System(model=model, space=Euclidean(shape=(1, 8, 8)), process=process or Linear())


def bars(n=48):
    """Pictures with a bright row or a bright column."""
    g = torch.Generator().manual_seed(0)
    label, at = torch.arange(n) % 2, torch.randint(0, 8, (n,), generator=g)
    x = torch.full((n, 1, 8, 8), -1.0)
    for i in range(n):
        x[i, 0, at[i]] = 1.0
    x = torch.where(label[:, None, None, None] == 1, x.mT, x)
    return Rows(x=x, label=label)


def points(n=60, seed=0):
    x, label = three().sample_labelled(torch.Generator().manual_seed(seed), n)
    return Rows(x=x, label=label)


@attrs.frozen
class Unlabelled(Dataset):
    def __len__(self):
        return 3

    def rows(self, index, rng):
        return Example(x=torch.zeros(len(index), 2), cond=Condition())


# Features


def test_without_noise_the_input_is_the_data_and_the_estimate_too():
    law = three()
    x = law.sample(torch.Generator().manual_seed(0), 5)
    found = features(mixture_system(law, Circle()), x, 0.0, (INPUT, X0), Rng.of(0, 5), samples=3)
    torch.testing.assert_close(found[INPUT], x)
    torch.testing.assert_close(found[X0], x)


def test_pooling_is_the_mean_over_places():
    h = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(pooled(h), h.mean((2, 3)))
    torch.testing.assert_close(pooled(h[:, 0]), h[:, 0].mean(1))
    assert pooled(h[:, 0, 0]).shape == (2, 5)
    assert pooled(h.bfloat16()).dtype == torch.float32


def test_features_are_the_backbone_s_own_at_the_noisy_input():
    system, rng, x = network(), Rng.of(0, 4), torch.randn(4, 1, 8, 8)
    blocks = known(system, ())
    assert blocks[0] == "down_0_0"
    assert blocks[-1] == "up_0_1"
    found = features(system, x, 0.3, blocks, rng)
    t = torch.full((4,), 0.3, dtype=F64)
    x_t = system.process.corrupt(x, t, rng=rng.at("noise", 0)).x_t
    scaling = Eps().scaling(Linear(), t)
    wanted = backbone_of(system).features(x_t * scaling.c_in, scaling.c_noise.float(), Condition(), at=blocks)
    for name in blocks:
        torch.testing.assert_close(found[name], pooled(wanted[name]))


def test_features_average_over_noises_and_do_not_depend_on_neighbours_or_on_what_else_is_read():
    system, rng, x = network(), Rng.of(0, 4), torch.randn(4, 1, 8, 8)
    both = features(system, x, 0.3, ("middle", X0, INPUT), rng, samples=2)
    few = features(system, x[1:3], 0.3, ("middle",), rng.index(slice(1, 3)), samples=2)["middle"]
    torch.testing.assert_close(few, both["middle"][1:3], atol=1e-5, rtol=1e-5)
    first = features(system, x, 0.3, ("middle",), rng)["middle"]
    assert float((first - both["middle"]).abs().max()) > 1e-4
    clean = features(system, x, 0.3, (INPUT,), rng, samples=2)[INPUT]
    torch.testing.assert_close(clean, both[INPUT])


def test_gradients_reach_the_data():
    x = torch.randn(2, 1, 8, 8, requires_grad=True)
    features(network(), x, 0.1, ("middle",), Rng.of(0, 2))["middle"].sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_transformers_and_other_processes_have_features():
    dit = DiT(channels=1, size=(8, 8), patch=2, width=16, depth=2, heads=2)
    system = network(dit, process=Edm(sigma_max=10.0))
    blocks = known(system, ())
    found = features(system, torch.randn(3, 1, 8, 8), 0.05, blocks, Rng.of(0, 3))
    assert {tuple(h.shape) for h in found.values()} >= {(3, 16)}
    assert all(h.isfinite().all() for h in found.values())


# Probing


@pytest.mark.parametrize("claim", [Affine(), IndependentHeads()])
def test_claims_hold_for_a_seed_and_fail_when_sabotaged(claim):
    assert claim.measure(0).effect > 0
    assert claim.measure(0, sabotage=True).effect < 0


def test_a_probe_of_the_input_without_noise_is_a_linear_classifier_on_the_data():
    data, rng = points(), Rng.of(3, 2)
    task = Probe(train=data, test=points(seed=1), blocks=(INPUT,), times=(0.0,), epochs=5, batch=16)
    found = task.run(mixture_system(three(), Circle()), {}, rng)
    weight, bias = head(2, 3, f"{INPUT} 0.0", rng, torch.device("cpu"))
    optimizer = torch.optim.Adam([weight, bias], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    rows = rng.pool().at("held").permutation(60)[0]
    for epoch in range(5):
        for at in rng.pool().at("order", epoch).permutation(60)[0].split(16):
            optimizer.zero_grad()
            F.cross_entropy(data.x[rows[at]].float() @ weight.T + bias, data.label[rows[at]]).backward()
            optimizer.step()
        schedule.step()
    torch.testing.assert_close(found.states["weight"], weight.detach())
    torch.testing.assert_close(found.states["bias"], bias.detach())


def test_the_search_reports_every_cell_and_chooses_on_held_rows():
    task = Probe(train=points(120), test=points(60, 1), blocks=(INPUT, X0), times=(0.01, 0.3, 0.99), draws=2, held=0.3)
    found = task.run(mixture_system(three(), Circle()), {}, Rng.of(0, 1))
    grid = found.tables["grid"]
    assert [(row["block"], row["t"]) for row in grid] == [(b, t) for t in task.times for b in task.blocks]
    (chosen,) = found.tables["chosen"]
    assert chosen["held"] == max(row["held"] for row in grid)
    assert found.metrics == {"accuracy": chosen["test"], "t": chosen["t"]}


def test_a_trained_probe_tells_classes_apart():
    task = Probe(train=points(200), test=points(200, 1), blocks=(X0,), times=(0.1,), epochs=60, learning_rate=0.03)
    accuracy = task.run(mixture_system(three(), Circle()), {}, Rng.of(0, 1)).metrics["accuracy"]
    bayes = three().bayes_accuracy(torch.Generator().manual_seed(0), 2000, 1.0, 0.0).value
    # the test set's own error, and what little noise costs
    assert bayes - 0.15 < accuracy < bayes + 0.1


# Fine-tuning


def test_fine_tuning_learns_and_leaves_the_system_alone():
    system, data = network(), bars()
    before = [p.clone() for p in system.model.parameters()]
    task = FineTune(train=data, test=data, block="middle", epochs=12, batch=16, learning_rate=5e-3)
    found = task.run(system, {}, Rng.of(0, 1))
    # below what the classes' frequencies alone give, and above chance by 3 standard errors
    assert found.tables["epochs"][-1]["loss"] < math.log(2)
    assert found.metrics["accuracy"] > 0.5 + 3 * 0.5 / math.sqrt(48)
    assert all(torch.equal(p, was) for p, was in zip(system.model.parameters(), before, strict=True))
    assert not any(p.requires_grad for p in system.model.parameters())


def test_fine_tuning_repeats():
    task = FineTune(train=bars(16), test=bars(16), block="down_0_0", epochs=1)
    first, again = (task.run(network(), {}, Rng.of(0, 1)) for _ in (0, 1))
    assert again.tables["epochs"] == first.tables["epochs"]


def test_learning_rates_fall_from_block_to_block():
    system = network()
    task = FineTune(train=bars(4), test=bars(4), block="down_1_0", learning_rate=1.0, decay=0.5)
    groups = task._groups(system.model, backbone_of(system))
    assert [g["lr"] for g in groups] == [0.25, 0.5, 1.0, 0.125]
    ids = [id(p) for g in groups for p in g["params"]]
    assert len(ids) == len(set(ids))
    above = {id(p) for p in backbone_of(system).blocks["up_0_1"].parameters()}
    assert not above & set(ids)


# Alignment and uniformity


def test_alignment_and_uniformity():
    f = F.normalize(torch.randn(20, 5, dtype=F64), dim=1)
    assert float(alignment(f, f)) == 0
    assert float(uniformity(f)) < 0
    assert float(uniformity(f[:1].expand(20, 5))) == 0
    pairs = [float((f[i] - f[j]).square().sum()) for i in range(20) for j in range(i)]
    wanted = torch.tensor(pairs, dtype=F64).mul(-2).exp().mean().log()
    torch.testing.assert_close(uniformity(f), wanted)


def test_views_without_noise_align():
    task = Contrast(data=points(30), blocks=(INPUT, X0), t=0.0, batch=10)
    system = mixture_system(three(), Circle())
    for row in task.run(system, {}, Rng.of(0, 1)).tables["blocks"]:
        assert row["alignment"] == 0
        assert row["uniformity"] < 0
    noisy = attrs.evolve(task, t=0.5).run(system, {}, Rng.of(0, 1)).tables["blocks"]
    assert all(row["alignment"] > 0 for row in noisy)


# Bad input


@pytest.mark.parametrize(
    ("settings", "inputs", "words"),
    [
        ({}, {"data": 1}, "data"),
        ({"blocks": ("up_9",)}, {}, "up_9"),
        ({"blocks": ()}, {}, "name input or x0"),
        ({"train": Unlabelled()}, {}, "label"),
        ({"times": (0.1, 0.2), "held": 0.0}, {}, "raise held"),
    ],
)
def test_wrong_probes_are_refused(settings, inputs, words):
    task = Probe(**{"train": points(), "test": points(), "blocks": (INPUT,), "times": (0.1,), **settings})
    with pytest.raises(InvalidInput, match=words):
        task.run(mixture_system(three(), Circle()), inputs, Rng.of(0, 1))


def test_wrong_settings_and_data_are_refused():
    with pytest.raises(SpecError, match="times"):
        Probe(train=points(), test=points(), times=(0.1, 0.1))
    with pytest.raises(InvalidInput, match="middle"):
        FineTune(train=points(), test=points(), block="middle").run(mixture_system(three(), Circle()), {}, Rng.of(0, 1))
    with pytest.raises(InvalidInput, match="8"):
        Probe(train=points(), test=points(), times=(0.1,)).run(network(), {}, Rng.of(0, 1))
    law = GaussianMixture([1.0], torch.zeros(1, 2), torch.tensor(1.0))
    with pytest.raises(InvalidInput, match="at least 2"):
        Contrast(data=points(1), blocks=(INPUT,)).run(mixture_system(law, Circle()), {}, Rng.of(0, 1))
