"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Classifier-Free Diffusion Guidance",
        year=2022,
        kind="method",
        arxiv="2207.12598",
        authors="Jonathan Ho, Tim Salimans",
    )
)


@hookimpl
def suffuse_guidance() -> list[Component]:
    """The guidance."""
    return [
        Component(
            name="cfg",
            off={"scale": 1.0},
            target="suffuse_cfg.guidance:Cfg",
            summary="uncond + w (cond - uncond) in one batched call",
            needs={"conditional"},
        )
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The training that guidance needs."""
    return [
        Component(
            name="drop",
            target="suffuse_cfg.objective:Drop",
            summary="another objective with the conditions of random samples dropped",
            needs={"conditional"},
            example={"objective": {"use": "ddpm/simple"}},
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="guided-score",
            target="suffuse_cfg.claims:GuidedScore",
            summary="the guided score in closed form, in every reading",
        ),
        Component(
            name="fidelity",
            target="suffuse_cfg.claims:Fidelity",
            summary="class accuracy rises with w at equal evaluations",
        ),
        Component(
            name="departure",
            target="suffuse_cfg.claims:Departure",
            summary="the distance to the true conditional law rises with w",
        ),
    ]
