"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains",
        year=2020,
        kind="library",
        arxiv="2006.10739",
        authors="Matthew Tancik, Pratul P. Srinivasan, Ben Mildenhall, Sara Fridovich-Keil, Nithin Raghavan, "
        "Utkarsh Singhal, Ravi Ramamoorthi, Jonathan T. Barron, Ren Ng",
    )
)


@hookimpl
def suffuse_backbones() -> list[Component]:
    """The network."""
    return [
        Component(
            name="mlp",
            target="suffuse_mlp.backbone:Mlp",
            summary="a residual MLP for vectors, with Fourier features of the noise level",
            gives={"conditional"},
            example={"shape": [3, 2], "width": 24, "depth": 2, "frequencies": 8, "classes": 4},
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the features and the network are good for."""
    return [
        Component(
            name="features",
            target="suffuse_mlp.claims:Features",
            summary="Fourier features resolve fast functions of the noise level",
        ),
        Component(
            name="denoises",
            target="suffuse_mlp.claims:Denoises",
            summary="trained on a ring, the network approaches the exact denoiser",
        ),
    ]
