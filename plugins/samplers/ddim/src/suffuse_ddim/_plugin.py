"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Denoising Diffusion Implicit Models",
        authors="Jiaming Song, Chenlin Meng, Stefano Ermon",
        year=2021,
        kind="method",
        arxiv="2010.02502",
    )
)


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The sampler."""
    return [
        Component(
            name="ddim",
            target="suffuse_ddim.sampler:Ddim",
            summary="DDIM, from the probability-flow ODE (eta = 0, invertible) to ancestral sampling (eta = 1)",
            needs=["gaussian", "mean"],
            gives=["inversion", "stochastic"],
        )
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """Inversion."""
    return [
        Component(
            name="invert",
            target="suffuse_ddim.inversion:Invert",
            summary="Encode data as latents, decode them, and measure the error",
            needs=["inversion"],
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The grids of the released code."""
    return [
        Component(
            name="leading", target="suffuse_ddim.grids:Leading", summary="Every k-th step of a chain", kind="grid"
        ),
        Component(
            name="quadratic",
            target="suffuse_ddim.grids:Quadratic",
            summary="Steps of a chain that thicken towards the data",
            kind="grid",
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="ancestral",
            target="suffuse_ddim.claims:Ancestral",
            summary="At eta = 1 a step is the posterior, to rounding",
            extras=["claims"],
        ),
        Component(
            name="order",
            target="suffuse_ddim.claims:Order",
            summary="DDIM converges to the ODE at order 1",
            extras=["claims"],
        ),
        Component(
            name="round-trip",
            target="suffuse_ddim.claims:RoundTrip",
            summary="Encoding and decoding returns the data, at order 1",
            extras=["claims"],
        ),
        Component(
            name="few-steps",
            target="suffuse_ddim.claims:FewSteps",
            summary="At 10 and 20 steps DDIM beats ancestral sampling",
            extras=["claims"],
        ),
    ]
