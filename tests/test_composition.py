"""What says that it goes together does, to the truth; what says that it does not is refused with the reason."""

import attrs
import pytest
import torch

from suffuse.errors import IncompatibleComponents
from suffuse.registry import registry
from suffuse.system import System
from suffuse.testing.composition import matrix
from suffuse.testing.composition.gaussian import SPACE, exact_model, labels, truth
from suffuse.testing.statistics import energy_distance

ALL = matrix.cells()
SEED = matrix.today()
CHOSEN = matrix.covering(ALL, SEED)


@pytest.mark.parametrize("cell", CHOSEN, ids=lambda c: " ".join(filter(None, attrs.astuple(c))))
def test_a_composition_samples_the_mixture(cell):
    """Every pair of parts is in one of these, which change daily: SEED of this run is in the failure."""
    found = matrix.run(cell, seed=SEED, tests=len(ALL))
    assert found.said in ("agrees", "refused"), f"{found.told} times the bound, with the seed {SEED}"
    assert "\n" not in found.told


def test_the_chosen_cover_every_pair():
    assert set().union(*(c.pairs() for c in ALL)) == set().union(*(c.pairs() for c in CHOSEN))
    assert matrix.covering(ALL, SEED) == CHOSEN
    assert matrix.covering(ALL, SEED + 1) != CHOSEN


def test_the_bound_tells_a_wrong_law_from_the_right_one():
    """Guidance of strength 2, a quarter more spread, and a shift are told from the mixture."""
    g = torch.Generator().manual_seed(1)
    x, y = (truth(matrix.SAMPLES, g, conditional=False) for _ in range(2))
    bound = matrix.bound(False, len(ALL))
    assert energy_distance(x, y).value < bound
    assert energy_distance(x * 1.25, y).value > bound
    assert energy_distance(x + 0.3, y).value > bound
    cell = next(c for c in ALL if c.guidance == "cfg/cfg" and c.sampler == "edm/heun")
    process, parameterization = (matrix.part_of(k, getattr(cell, k)) for k in ("process", "parameterization"))
    guided = System(
        model=exact_model(process, parameterization),
        space=SPACE,
        process=process,
        sampler=matrix.part_of("sampler", cell.sampler),
        guidance=matrix.part_of("guidance", "cfg/cfg", scale=2.0),
    )
    x = guided.sample(matrix.SAMPLES, cond={"label": labels(matrix.SAMPLES)}, seed=0, dtype=torch.float64)
    y = truth(matrix.SAMPLES, g, conditional=True)
    assert energy_distance(x, y).value > matrix.bound(True, len(ALL))


REFUSED = [(a.ref, b.kind, b.ref, why) for a, b, why in matrix.pairs_refused()]


def test_pairs_are_refused_with_the_reason():
    """The classes refuse what the manifests refuse: a need that the process does not give is named."""
    around = matrix.anything()
    assert REFUSED
    for process, kind, other, why in REFUSED:
        cls, given = registry().resolve(other, kind), registry().resolve(process, "process")
        gives = frozenset[str]().union(*(vars(c).get("provides", ()) for c in given.__mro__)) | around
        lacking = [need for need in cls.needs if gives.isdisjoint(need.split("|"))]
        assert lacking, (process, other)
        assert "needs" in why
        assert any(need.replace("|", " or ") in why for need in lacking), why


@pytest.mark.parametrize("kind", ["sampler", "guidance"])
def test_composing_what_does_not_go_together_raises(kind):
    """With the objects, where the model was trained with another process."""
    gaussian = matrix.part_of("process", "ddpm/linear")
    model = exact_model(gaussian, matrix.part_of("parameterization", "ddpm/eps"))
    named = {"sampler": "edm/heun", "guidance": "w2sd/reflection"}[kind]
    phase = matrix.part_of("process", "mdm/linear")
    with pytest.raises(IncompatibleComponents, match="needs 'gaussian'"):
        System(model=model, space=SPACE, process=phase, **{kind: matrix.part_of(kind, named)})
