"""How a claim is judged, and that a check which cannot fail is found out."""

from typing import ClassVar

import pytest

from suffuse.contracts.task import Claim, Measure
from suffuse.testing.verify import _judge


def claim(tier, honest, sabotaged, **more):
    """A claim with these effects, by seed."""

    class Told(Claim):
        """Says what it is told."""

        statement: ClassVar[str] = "effects are what they are told to be"

        def measure(self, seed, *, sabotage=False):
            asked.append((seed, sabotage))
            return Measure(effect=(sabotaged if sabotage else honest)[seed % 5])

    asked = []
    Told.tier, Told.seeds = tier, 5
    for name, value in more.items():
        setattr(Told, name, value)
    return Told(), asked


def test_an_exact_claim_holds_for_every_seed_and_fails_when_sabotaged():
    told, asked = claim("exact", [1, 2, 3, 4, 5], [-1] * 5)
    found = _judge(told)
    assert (found["status"], found["sabotaged"]) == ("passed", -1)
    assert sorted(asked) == [(0, False), (0, True), (1, False), (2, False), (3, False), (4, False)]


@pytest.mark.parametrize(
    ("tier", "honest", "sabotaged", "why"),
    [
        ("exact", [1, 1, -1e-9, 1, 1], [-1] * 5, "below 0"),
        ("exact", [1] * 5, [0.5] * 5, "proves nothing"),
        ("claim", [1, 1.1, 0.9, 1, 1], [1, 1.1, 0.9, 1, 1], "proves nothing"),
        ("claim", [1, -1, 2, -2, 0], [-1, 1, 0, 0.1, 0], "does not lie above 0"),
    ],
)
def test_what_does_not_hold_or_cannot_fail_has_failed(tier, honest, sabotaged, why):
    found = _judge(claim(tier, honest, sabotaged)[0])
    assert found["status"] == "failed"
    assert why in found["reason"]


def test_a_claim_known_not_to_hold_is_kept_with_its_numbers():
    found = _judge(claim("claim", [1, -1, 2, -2, 0], [-1, 1, 0, 0.1, 0], does_not_hold="too small a network")[0])
    assert (found["status"], found["reason"]) == ("does not hold here", "too small a network")
    assert found["effects"] == [1, -1, 2, -2, 0]


def test_parity_has_nothing_to_sabotage():
    told, asked = claim("parity", [0.1] * 5, [0.1] * 5)
    assert _judge(told)["status"] == "passed"
    assert not any(sabotage for _, sabotage in asked)


def test_an_effect_that_is_no_number_is_an_error():
    with pytest.raises(ArithmeticError, match="nan"):
        _judge(claim("exact", [float("nan")] * 5, [-1] * 5)[0])
