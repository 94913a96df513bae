"""The manifest."""

from collections.abc import Iterable

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Diffusion Posterior Sampling for General Noisy Inverse Problems",
        year=2022,
        kind="method",
        arxiv="2209.14687",
        authors="Hyungjin Chung, Jeongsol Kim, Michael T. Mccann, Marc L. Klasky, Jong Chul Ye",
    )
)


@hookimpl
def suffuse_guidance() -> Iterable[Component]:
    """The guidance."""
    return [
        Component(
            name="dps",
            off={"zeta": 0.0},
            target="suffuse_dps.guidance:Dps",
            summary="each step goes down the gradient of a measurement's residual",
            needs={"gaussian", "mean"},
            example={"operator": {"use": "operators/inpaint"}},
        )
    ]


@hookimpl
def suffuse_claims() -> Iterable[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="gradient",
            target="suffuse_dps.claims:Gradient",
            summary="the correction in closed form, with the exact Jacobian",
            extras=["claims"],
        ),
        Component(
            name="no-noise-amplified",
            target="suffuse_dps.claims:NoNoiseAmplified",
            summary="noise is not copied, as projection does",
            extras=["claims"],
        ),
        Component(
            name="nearer-posterior",
            target="suffuse_dps.claims:NearerPosterior",
            summary="nearer the exact posterior than projection",
            extras=["claims"],
        ),
        Component(
            name="phase-retrieved",
            target="suffuse_dps.claims:PhaseRetrieved",
            summary="phase retrieval, the best of four restarts",
            extras=["claims"],
        ),
        Component(
            name="deblurs",
            target="suffuse_dps.trained:Deblurs",
            summary="digits deblurred with a trained network, against projection",
            extras=["claims"],
        ),
    ]
