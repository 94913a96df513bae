"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="GRAND: Graph Neural Diffusion",
        year=2021,
        arxiv="2106.10934",
        kind="method",
        authors="Benjamin Paul Chamberlain, James Rowbottom, Maria Gorinova, Stefan Webb, Emanuele Rossi, "
        "Michael M. Bronstein",
    )
)

_GRAND = {"features": 3, "classes": 2, "time": 2.0, "hidden": 8, "width": 8, "heads": 2}


@hookimpl
def suffuse_tasks() -> list[Component]:
    """Node classification."""
    return [
        Component(
            name="node-classification",
            target="suffuse_grand.task:NodeClassification",
            summary="trains a network on some nodes' labels and classifies the others",
            example={"network": {"use": "grand/grand", "with": _GRAND}, "epochs": 1},
        )
    ]


@hookimpl
def suffuse_datasets() -> list[Component]:
    """Synthetic graphs."""
    return [
        Component(
            name="block-model",
            target="suffuse_grand.blocks:BlockModel",
            summary="stochastic block model graphs with noisy features and few labels",
            example={"nodes": 30, "labelled": 3},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """Networks, solvers, rewiring."""
    solvers = (
        ("euler", "Euler", "the explicit scheme"),
        ("implicit-euler", "ImplicitEuler", "the implicit scheme, stable for every step"),
        ("runge-kutta-4", "RungeKutta4", "the classical method of order 4"),
        ("adams-bashforth", "AdamsBashforth", "multi-step, of order 1 to 4"),
        ("dopri5", "Dopri5", "adaptive, of order 5"),
    )
    return [
        Component(
            name="grand",
            kind="node-classifier",
            target="suffuse_grand.classifier:Grand",
            summary="diffusion with attention: GRAND-l, GRAND-nl, and with rewiring GRAND-nl-rw",
            example=_GRAND,
        ),
        Component(
            name="gcn",
            kind="node-classifier",
            target="suffuse_grand.classifier:GcnClassifier",
            summary="graph convolutions, plain or residual: what GRAND is compared with",
            example={"features": 3, "classes": 2, "hidden": 8},
        ),
        Component(
            name="rewiring",
            kind="rewiring",
            target="suffuse_grand.rewiring:Rewiring",
            summary="edges of several hops, thinned out by attention",
        ),
        *(
            Component(
                name=name, kind="integrator", target=f"suffuse_grand.integrators:{target}", summary=f"solver: {summary}"
            )
            for name, target, summary in solvers
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="exponential",
            target="suffuse_grand.claims:Exponential",
            summary="GRAND-l is the matrix exponential, reached at each solver's order",
        ),
        Component(
            name="maximum-principle",
            target="suffuse_grand.claims:MaximumPrinciple",
            summary="explicit steps of at most 1, and all implicit ones, keep between minimum and maximum",
        ),
        Component(
            name="linear-convolution",
            target="suffuse_grand.claims:LinearConvolution",
            summary="one explicit step of 1 with uniform attention is a mean over neighbours",
        ),
        Component(
            name="depth",
            target="suffuse_grand.claims:Depth",
            summary="32 steps of GRAND-l keep the accuracy that 32 graph convolutions lose",
        ),
        Component(
            name="stability",
            target="suffuse_grand.claims:Stability",
            summary="steps of 2 work implicitly and fail explicitly",
        ),
    ]
