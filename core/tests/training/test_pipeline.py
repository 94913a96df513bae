import json
from pathlib import Path

import attrs
import pytest
import torch
import training_toy as toy

from suffuse.errors import IncompatibleApi, MissingPlugin, SpecError, SuffuseError, WeightsError
from suffuse.pipeline import Pipeline


@pytest.fixture
def registry():
    return toy.registry()


@pytest.fixture
def saved(tmp_path, registry):
    return Pipeline(system=toy.system(), card={"data": "ring", "figures": {"loss": 0.25}}).save(
        tmp_path / "pipe", registry=registry
    )


def change(folder: Path, **entries) -> None:
    """Rewrite entries of the config; None removes one."""
    file = folder / "suffuse.json"
    config = json.loads(file.read_text()) | entries
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def entry(folder: Path, **changes) -> dict:
    config = json.loads((folder / "suffuse.json").read_text())
    return {"model": {**config["weights"]["model"], **changes}}


def test_round_trip(saved, registry):
    torch.manual_seed(9)
    pipeline = Pipeline.load(saved, registry=registry)
    expected = toy.system()
    expected.model.eval()
    assert torch.equal(pipeline.system.sample(32, seed=4), expected.sample(32, seed=4))
    assert pipeline.card == {"data": "ring", "figures": {"loss": 0.25}}
    assert not pipeline.system.model.training
    assert not any(p.requires_grad for p in pipeline.system.model.parameters())
    assert sorted(p.name for p in saved.iterdir()) == ["model.safetensors", "suffuse.json"]


def test_tied_weights_are_stored_once_and_stay_tied(saved, registry):
    from safetensors.torch import load_file

    assert len(load_file(saved / "model.safetensors")) == len(toy.system().model.state_dict()) - 1
    net = Pipeline.load(saved, registry=registry).system.model.backbone
    assert net.again.weight is net.blocks["out"].weight


def test_loading_initialises_nothing(saved, registry):
    state = torch.random.get_rng_state()
    Pipeline.load(saved, registry=registry)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_saving_again_replaces_the_whole(saved, registry):
    (saved / "stale.safetensors").write_bytes(b"old")
    system = toy.system(seed=5)
    Pipeline(system=system).save(saved, registry=registry)
    assert not (saved / "stale.safetensors").exists()
    assert list(saved.parent.iterdir()) == [saved]
    loaded = Pipeline.load(saved, registry=registry)
    system.model.eval()
    assert torch.equal(loaded.system.sample(3), system.sample(3))


def test_other_peoples_folders_are_left_alone(tmp_path, registry):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WeightsError, match="holds something that is no pipeline"):
        Pipeline(system=toy.system()).save(tmp_path, registry=registry)
    with pytest.raises(WeightsError, match="holds something that is no pipeline"):
        Pipeline(system=toy.system()).save(tmp_path / "thesis.txt", registry=registry)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_a_save_that_fails_leaves_what_was_there(saved, registry, value):
    with pytest.raises(WeightsError, match="the card must hold plain, finite JSON values"):
        Pipeline(system=toy.system(), card={"a": value}).save(saved, registry=registry)
    assert list(saved.parent.iterdir()) == [saved]
    Pipeline.load(saved, registry=registry)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.unlink(), "model.safetensors is missing"),
        (lambda f: f.write_bytes(f.read_bytes()[:-1]), "is truncated or altered: expected sha256"),
        (lambda f: f.write_bytes(f.read_bytes()[:-1] + b"\x01"), "is truncated or altered: expected sha256"),
        (lambda f: f.write_bytes(b""), "is truncated or altered: expected sha256"),
    ],
)
def test_damaged_weights(saved, registry, damage, message):
    damage(saved / "model.safetensors")
    with pytest.raises(WeightsError, match=message):
        Pipeline.load(saved, registry=registry)


def test_weights_that_fit_their_hash_but_nothing_else(saved, registry, tmp_path):
    import hashlib

    from safetensors.torch import load_file, save_file

    file = saved / "model.safetensors"
    tensors = load_file(file)
    first = next(iter(tensors))
    wide = {**tensors, first: torch.zeros(*tensors[first].shape, 2)}
    for content, message in (
        ({k: v for k, v in tensors.items() if k != first}, f"does not fit Preconditioned: {first} on one side only"),
        ({**tensors, "more": torch.zeros(1)}, "does not fit Preconditioned: more on one side only"),
        (wide, "does not fit Preconditioned: .*size mismatch"),
    ):
        save_file(content, file)
        change(saved, weights=entry(saved, sha256=hashlib.sha256(file.read_bytes()).hexdigest()))
        with pytest.raises(WeightsError, match=message):
            Pipeline.load(saved, registry=registry)
    file.write_bytes(b"no safetensors")
    change(saved, weights=entry(saved, sha256=hashlib.sha256(file.read_bytes()).hexdigest()))
    with pytest.raises(WeightsError, match="is no safetensors file"):
        Pipeline.load(saved, registry=registry)


@pytest.mark.parametrize(
    ("entries", "error", "message"),
    [
        ({"format": 2}, WeightsError, "format 2; this version of suffuse reads format 1"),
        ({"card": None}, WeightsError, "expected the keys"),
        ({"more": 1}, WeightsError, "expected the keys .* got .*more"),
        ({"card": []}, WeightsError, "pipeline and card is malformed"),
        ({"requires": [{"plugin": "toy"}]}, WeightsError, "requires is malformed"),
        ({"requires": [{"plugin": "x", "dist": "\x1b[2J", "version": "1"}]}, WeightsError, "requires is malformed"),
        ({"suffuse": "newest"}, WeightsError, "the range of versions of suffuse is malformed"),
        ({"suffuse": ">=7"}, IncompatibleApi, "needs suffuse >=7, this is"),
        ({"weights": {}}, WeightsError, r"weights for \[\], but the spec has \['model'\]"),
        ({"weights": {"model": {"file": "model.safetensors"}}}, WeightsError, "weights .* is malformed"),
    ],
)
def test_a_config_that_is_wrong(saved, registry, entries, error, message):
    change(saved, **entries)
    with pytest.raises(error, match=message):
        Pipeline.load(saved, registry=registry)


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        ".safetensors",
        "model.pt",
        "model.safetensors\n",
        3,
    ],
)
def test_file_names_stay_in_the_folder(saved, registry, name):
    (saved.parent / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    change(saved, weights=entry(saved, file=name))
    with pytest.raises(WeightsError, match=r"weights .* is malformed"):
        Pipeline.load(saved, registry=registry)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": ' * 5000])
def test_a_config_that_is_no_config(saved, registry, text):
    (saved / "suffuse.json").write_text(text)
    with pytest.raises(WeightsError, match=r"suffuse\.json"):
        Pipeline.load(saved, registry=registry)


def test_a_config_too_large_to_be_one(saved, registry):
    (saved / "suffuse.json").write_bytes(b" " * (5 << 20))
    with pytest.raises(WeightsError, match="a config has at most"):
        Pipeline.load(saved, registry=registry)


def test_a_folder_that_is_none(tmp_path, registry):
    with pytest.raises(WeightsError, match=r"is no saved pipeline: it has no suffuse\.json"):
        Pipeline.load(tmp_path / "nowhere", registry=registry)


def test_all_missing_plugins_are_named_before_any_weight_is_read(saved):
    config = json.loads((saved / "suffuse.json").read_text())
    more = [*config["requires"], {"plugin": "gone", "dist": "suffuse-gone", "version": "0.3", "api": 1}]
    change(saved, requires=more)
    (saved / "model.safetensors").unlink()
    with pytest.raises(MissingPlugin, match=r"not installed: suffuse-toy \(1\), suffuse-gone \(0.3\)"):
        Pipeline.load(saved, registry=toy.registry(without=True))


def test_a_spec_that_does_not_fit(saved, registry):
    spec = json.loads((saved / "suffuse.json").read_text())["pipeline"]
    spec["sampler"]["with"]["stepz"] = 3
    change(saved, pipeline=spec)
    with pytest.raises(SpecError, match=r"unknown setting 'stepz'.* @ pipeline.sampler"):
        Pipeline.load(saved, registry=registry)


def test_a_plugin_that_the_config_hides(saved):
    """What the spec uses counts, whatever ``requires`` says."""
    change(saved, requires=[])
    with pytest.raises(MissingPlugin, match="toy"):
        Pipeline.load(saved, registry=toy.registry(without=True))


@toy.module
class Forgetful(toy.Net):
    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.register_buffer("lost", torch.zeros(1), persistent=False)


def test_a_module_that_would_lose_a_buffer(tmp_path, registry):
    toy.Forgetful = Forgetful
    known = toy.Registry(
        toy.Outcome(
            plugins=(
                *(p for p in registry.plugins() if p.origin.key == "suffuse"),
                toy.loaded(Forgetful, toy.Circle, toy.FirstOrder, toy.NoisePrediction),
            ),
            failures=(),
            blocked=(),
        )
    )
    system = toy.system()
    system = attrs.evolve(system, model=attrs.evolve(system.model, backbone=Forgetful()))
    folder = Pipeline(system=system).save(tmp_path / "pipe", registry=known)
    with pytest.raises(WeightsError, match="no persistent buffers"):
        Pipeline.load(folder, registry=known)


def test_every_error_is_one_line(saved, registry):
    for damage in ({"format": 0}, {"weights": {}}, {"suffuse": ">=9"}, {"requires": 1}):
        change(saved, **damage)
        with pytest.raises(SuffuseError) as caught:
            Pipeline.load(saved, registry=registry)
        assert "\n" not in str(caught.value)
