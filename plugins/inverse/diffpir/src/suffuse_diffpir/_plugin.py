"""The manifest."""

from collections.abc import Iterable

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Denoising Diffusion Models for Plug-and-Play Image Restoration",
        year=2023,
        kind="method",
        arxiv="2305.08995",
        authors="Yuanzhi Zhu, Kai Zhang, Jingyun Liang, Jiezhang Cao, Bihan Wen, Radu Timofte, Luc Van Gool",
    )
)


@hookimpl
def suffuse_samplers() -> Iterable[Component]:
    """The sampler."""
    return [
        Component(
            name="diffpir",
            target="suffuse_diffpir.sampler:DiffPir",
            summary="to the data estimate, and back with a share zeta of fresh noise",
            needs={"gaussian", "mean"},
            gives={"stochastic"},
        )
    ]


@hookimpl
def suffuse_guidance() -> Iterable[Component]:
    """The data step."""
    return [
        Component(
            name="data-prox",
            target="suffuse_diffpir.guidance:DataProx",
            summary="the data estimate moves to the minimum of data term and distance, in closed form",
            needs={"gaussian", "mean"},
            example={"operator": {"use": "operators/inpaint"}},
        )
    ]


@hookimpl
def suffuse_parts() -> Iterable[Component]:
    """The grid of the released code."""
    return [
        Component(
            name="quadratic",
            target="suffuse_diffpir.grid:Quadratic",
            summary="steps of a chain that thicken towards the data, by a square root",
            kind="grid",
        )
    ]


@hookimpl
def suffuse_claims() -> Iterable[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="data-step",
            target="suffuse_diffpir.claims:DataStep",
            summary="a step solves the normal equations and takes its noise from their solution",
            extras=["claims"],
        ),
        Component(
            name="fewer-evaluations",
            target="suffuse_diffpir.claims:FewerEvaluations",
            summary="20 evaluations beat DPS and projection",
            extras=["claims"],
        ),
        Component(
            name="photographs",
            target="suffuse_diffpir.claims:Photographs",
            summary="patches of photographs, restored better than by the pseudo-inverse and projection",
        ),
        Component(
            name="photographs-against-dps",
            target="suffuse_diffpir.claims:PhotographsAgainstDps",
            summary="the same patches, restored better than by DPS (does not hold)",
        ),
        Component(
            name="nearer-posterior",
            target="suffuse_diffpir.claims:NearerPosterior",
            summary="nearer the exact posterior than projection at 20 evaluations",
            extras=["claims"],
        ),
    ]
