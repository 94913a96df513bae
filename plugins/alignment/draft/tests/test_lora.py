import pytest
import torch
from suffuse_ddim.sampler import Ddim
from suffuse_ddpm.cosine import Cosine
from suffuse_ddpm.parameterization import V
from suffuse_ddpm.unet import UNet
from suffuse_ddpo.policy_gradient import ScoreFunction
from suffuse_ddpo.rewards import Quadratic
from suffuse_draft.lora import Adapted, Lora
from suffuse_draft.objectives import Draft
from suffuse_mlp.backbone import Mlp

from suffuse.contracts.condition import Condition
from suffuse.contracts.space import Euclidean
from suffuse.errors import InvalidInput
from suffuse.parts import Uniform
from suffuse.pipeline import Pipeline
from suffuse.preconditioned import Preconditioned
from suffuse.system import System
from suffuse.testing.fitting import fit, seeded
from suffuse.train.settings import Experiment, Settings
from suffuse.train.trainer import Trainer


def base():
    with seeded(0):
        net = Mlp(shape=(2,), width=16, depth=2)
        torch.nn.init.normal_(net.last.weight, std=0.1)
    return Preconditioned(backbone=net, parameterization=V(scale=1.0, shift=0.0), trained=Cosine())


def system_of(model, eta=0.0):
    return System(model=model, space=Euclidean(shape=(2,)), sampler=Ddim(steps=4, eta=eta, grid=Uniform(start=0.98)))


def adapted(**settings):
    with seeded(1):
        return Adapted(model=base(), lora=Lora(rank=2), **settings)


def shake(model):
    with torch.no_grad():
        for p in model.delta.parameters():
            p.add_(0.1)
    return model


def test_a_new_update_changes_nothing():
    assert torch.equal(system_of(adapted()).sample(5, seed=0), system_of(base()).sample(5, seed=0))


def test_at_scale_zero_samples_are_the_base_s_bit_for_bit():
    model = shake(adapted())
    plain = system_of(base()).sample(5, seed=0)
    assert torch.equal(system_of(model.scaled(0.0)).sample(5, seed=0), plain)
    assert not torch.equal(system_of(model).sample(5, seed=0), plain)
    assert model.scale == 1.0


def test_the_update_is_b_a_times_scale():
    model = shake(adapted(scale=0.7))
    x, t = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.tensor(0.5).double()
    found = model(x, t, Condition(), process=Cosine()).value
    by_hand = base()
    with torch.no_grad():
        for name, layer in model.lora.layers(by_hand).items():
            low = model.delta[name.replace(".", "/")]
            layer.weight += 0.7 * (low.up @ low.down)
    torch.testing.assert_close(found, by_hand(x, t, Condition(), process=Cosine()).value)


@pytest.mark.parametrize("objective", [Draft(reward=Quadratic()), ScoreFunction(reward=Quadratic())])
def test_the_update_alone_trains_whatever_the_objective(objective):
    model = adapted()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fit(system_of(model, eta=1.0), objective, None, steps=3, batch=8, seed=0)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(k.startswith("delta.") for k in changed)
    assert any(k.endswith("up") for k in changed)


def test_it_trains_and_is_saved(tmp_path):
    system = system_of(adapted())
    train = Settings(steps=2, batch=4, ema=0.0)
    pipeline = Trainer(Experiment(system=system, objective=Draft(reward=Quadratic()), train=train), tmp_path).run()
    again = Pipeline.load(tmp_path / "pipeline").system
    assert torch.equal(again.sample(4, seed=0), pipeline.system.sample(4, seed=0))
    assert not torch.equal(again.sample(4, seed=0), system_of(base()).sample(4, seed=0))


def test_the_delta_is_small_and_enough():
    tuned, fresh = shake(adapted()), adapted()
    delta = tuned.delta.state_dict()
    assert sum(v.numel() for v in delta.values()) < sum(p.numel() for p in tuned.model.parameters()) / 2
    fresh.delta.load_state_dict(delta)
    assert torch.equal(system_of(fresh).sample(3, seed=0), system_of(tuned).sample(3, seed=0))


def test_layers_are_chosen_by_name():
    net = UNet(channels=1, width=8, multipliers=(1, 2), attention=(1,))
    everything, some = Lora().layers(net), Lora(only=r"\.(qkv|out)$").layers(net)
    assert 0 < len(some) < len(everything)
    assert {name.split(".")[-1] for name in some} == {"qkv", "out"}
    with pytest.raises(InvalidInput, match="'nowhere'"):
        Lora(only="nowhere").layers(net)


def test_convolutions_are_adapted_too():
    net = UNet(channels=1, width=8, multipliers=(1, 2), attention=(1,)).eval().requires_grad_(False)
    x, c = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 5.0])
    plain = net(x, c, Condition())
    with Lora(rank=2).attach(net) as trained:
        assert torch.equal(net(x, c, Condition()), plain)
        with torch.no_grad():
            for p in trained.values():
                p.add_(0.05)
        assert not torch.allclose(net(x, c, Condition()), plain)
    assert torch.equal(net(x, c, Condition()), plain)
