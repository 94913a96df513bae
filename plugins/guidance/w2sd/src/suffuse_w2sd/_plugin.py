"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Weak-to-Strong Diffusion with Reflection",
        year=2025,
        kind="method",
        arxiv="2502.00473",
        authors="Lichen Bai, Masashi Sugiyama, Zeke Xie",
    )
)


@hookimpl
def suffuse_guidance() -> list[Component]:
    """The guidance."""
    return [
        Component(
            name="reflection",
            off={"reflected": 0},
            target="suffuse_w2sd.reflection:Reflection",
            summary="each step begins one level up: down with the strong model, up with the weak one",
            needs={"gaussian", "mean"},
            example={"strong_guidance": {"use": "cfg/cfg", "with": {"scale": 2.0}}},
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="displacement",
            target="suffuse_w2sd.claims:Displacement",
            summary="a reflection moves the state by k (eps_weak - eps_strong)",
        ),
        Component(
            name="towards-the-data",
            target="suffuse_w2sd.claims:TowardsTheData",
            summary="a strong model with a wrong mode's weight is at least halfway corrected at equal evaluations",
        ),
        Component(
            name="roles",
            target="suffuse_w2sd.claims:Roles",
            summary="with the roles swapped the error grows",
        ),
        Component(
            name="wrong-proxy",
            target="suffuse_w2sd.claims:WrongProxy",
            summary="a weak model that errs elsewhere does not help",
        ),
    ]
