"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Scalable Diffusion Models with Transformers",
        year=2023,
        kind="method",
        arxiv="2212.09748",
        authors="William Peebles, Saining Xie",
    )
)


@hookimpl
def suffuse_backbones() -> list[Component]:
    """The network."""
    return [
        Component(
            name="dit",
            target="suffuse_dit.backbone:DiT",
            summary="a transformer on patches with adaLN-Zero blocks",
            gives={"conditional"},
            example={"channels": 3, "size": [8, 4], "width": 32, "depth": 2, "heads": 4, "classes": 5},
            shape=(3, 8, 4),
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="sizes",
            target="suffuse_dit.claims:Sizes",
            summary="the published parameter counts",
        ),
        Component(
            name="zero-start",
            target="suffuse_dit.claims:ZeroStart",
            summary="every block is the identity at initialisation",
        ),
        Component(
            name="adaln-zero",
            target="suffuse_dit.claims:AdaLNZero",
            summary="zero initialisation of the modulation trains faster",
            extras=["claims"],
        ),
    ]
