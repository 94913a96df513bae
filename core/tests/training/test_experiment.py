import pytest
import torch
import training_toy as toy

from suffuse.errors import IncompatibleComponents, MissingPlugin, SpecError
from suffuse.train.experiment import load_experiment, make_experiment

TEXT = """
seed = 7
data = "toy/ring"

[system]
space = { use = "suffuse/euclidean", with = { shape = [2] } }

[system.model]
use = "suffuse/preconditioned"

[system.model.with]
backbone = { use = "toy/net", with = { width = 8 } }
parameterization = "toy/noiseprediction"
trained = "toy/circle"

[objective]
use = "toy/regression"

[train]
steps = 20
learning_rate = 1e-3

[card]
data = "a ring"
numbers = [1, 2]
"""


@pytest.fixture
def registry():
    return toy.registry()


def write(tmp_path, *pairs):
    text = TEXT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "e.toml").write_text(text)
    return tmp_path / "e.toml"


def test_a_file_becomes_an_experiment(tmp_path, registry):
    e = load_experiment(write(tmp_path), registry=registry)
    assert e.train.steps == 20
    assert (e.seed, dict(e.card)) == (7, {"data": "a ring", "numbers": [1, 2]})
    assert isinstance(e.objective, toy.Regression)
    assert e.system.model.backbone.width == 8


def test_weights_follow_the_seed(tmp_path, registry):
    def weights(*pairs):
        torch.rand(3)
        e = load_experiment(write(tmp_path, *pairs), registry=registry)
        return torch.cat([p.flatten() for p in e.system.model.parameters()])

    assert torch.equal(weights(), weights())
    assert not torch.equal(weights(), weights(("seed = 7", "seed = 8")))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("steps = 20", "steps = 0"), "at least 1, got 0 @ train.steps"),
        (("steps = 20", 'steps = "20"'), "expected int, got str '20' @ train.steps"),
        (("steps = 20", "stops = 20"), "unknown setting 'stops'; did you mean steps.* @ train"),
        (("width = 8", "width = 1.5"), "expected int, got float 1.5 @ system.model.backbone.width"),
        (("[card]", "[cart]"), "unknown setting 'cart'; did you mean card"),
        (('data = "toy/ring"', ""), "this setting is required @ data"),
        (('data = "toy/ring"', 'data = "toy/circle"'), "expected dataset, got the process toy/circle @ data"),
        (("seed = 7", "seed = -1"), "got -1 @ seed"),
        (("seed = 7", "seed = true"), "got True @ seed"),
        (("seed = 7", "seed = "), "e.toml is not valid TOML: .*line 2"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path, registry, pair, message):
    with pytest.raises(SpecError, match=message):
        load_experiment(write(tmp_path, pair), registry=registry)


def test_missing_plugins_are_named_together(tmp_path, registry):
    path = write(tmp_path, ("toy/ring", "gone/ring"), ("toy/regression", "lost/objective"), ("toy/net", "off/net"))
    with pytest.raises(MissingPlugin, match=r"off.*lost.*gone"):
        load_experiment(path, registry=registry)


def test_needs_are_checked(registry, tmp_path):
    import tomllib

    spec = tomllib.loads(TEXT)
    spec["system"]["guidance"] = {"use": "suffuse/interval", "with": {"guidance": "toy/circle"}}
    with pytest.raises((SpecError, IncompatibleComponents)):
        make_experiment(spec, registry=registry)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match=r"cannot read .*nowhere.toml"):
        load_experiment(tmp_path / "nowhere.toml")
