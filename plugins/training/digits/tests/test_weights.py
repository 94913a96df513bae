from pathlib import Path

import pytest
import suffuse_digits
import torch
from suffuse_digits.metrics import Accuracy

from suffuse.contracts.condition import Condition
from suffuse.contracts.task import Example
from suffuse.pipeline import Pipeline
from suffuse.registry import registry
from suffuse.spec import load_json, unstructure
from suffuse.train.experiment import load_experiment

HERE = Path(suffuse_digits.__file__).parent
RECIPES = {"ddpm": "ddpm-unet", "edm": "edm-dit"}


@pytest.mark.parametrize("name", RECIPES)
def test_they_draw_what_is_asked(name):
    """With 50 samples and a true share of 0.98, fewer than 45 right come once in 4000 tries."""
    system = Pipeline.load(registry().resolve(f"digits/{name}", "weights")).system
    label = torch.arange(50) % 10
    x = system.sample(cond={"label": label}, seed=11)
    assert x.shape == (50, 1, 8, 8)
    assert (x.min() >= 0) & (x.max() <= 16)
    found = Accuracy().measure(Example(x=x, cond=Condition(label=label)), Example(x=x, cond=Condition()))
    assert found["accuracy"] > 0.9


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_those_of_the_weights(name):
    config = load_json(HERE / "weights" / name / "suffuse.json")
    recipe = load_experiment(HERE / "recipes" / f"{RECIPES[name]}.toml")
    assert unstructure(recipe.system) == config["pipeline"]
    assert config["card"]["trained"]["steps"] == recipe.train.steps
    assert dict(recipe.card) == {k: v for k, v in config["card"].items() if k in recipe.card}


def test_every_recipe_is_tested():
    assert {p.stem for p in (HERE / "recipes").iterdir()} == set(RECIPES.values())


def test_all_weights_are_small():
    sizes = [p.stat().st_size for p in (HERE / "weights").rglob("*") if p.is_file()]
    assert len(sizes) == 5
    assert sum(sizes) < 4_000_000
