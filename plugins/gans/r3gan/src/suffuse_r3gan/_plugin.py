"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="The GAN is dead; long live the GAN! A Modern GAN Baseline",
        year=2024,
        arxiv="2501.05441",
        kind="method",
        authors="Yiwen Huang, Aaron Gokaslan, Volodymyr Kuleshov, James Tompkin",
    )
)

_SMALL = {"channels": 1, "widths": [8, 4], "cardinalities": [4, 2], "blocks": 1, "classes": 3}
_GENERATOR = {**_SMALL, "latent": {"use": "wgan/gaussian", "with": {"dim": 3}}}


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The loss."""
    return [
        Component(
            name="loss",
            target="suffuse_r3gan.loss:R3Gan",
            summary="relativistic pairing loss with penalties on data and samples, and the published schedules",
            needs={"generator"},
            example={"critic": {"use": "r3gan/discriminator", "with": _SMALL}},
            beside={"generator": {"use": "r3gan/generator", "with": _GENERATOR}},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The networks."""
    return [
        Component(
            name="generator",
            kind="generator",
            target="suffuse_r3gan.networks:R3Generator",
            summary="residual stages without normalisation, bilinear upsampling",
            gives={"generator", "conditional"},
            example=_GENERATOR,
        ),
        Component(
            name="discriminator",
            kind="critic",
            target="suffuse_r3gan.networks:R3Discriminator",
            summary="the generator's mirror image",
            gives={"conditional"},
            example=_SMALL,
            shape=(1, 8, 8),
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="dirac-field",
            target="suffuse_r3gan.claims:DiracField",
            summary="on the Dirac-GAN the objective has the field and the eigenvalues of the closed form",
        ),
        Component(
            name="relativistic",
            target="suffuse_r3gan.claims:Relativistic",
            summary="constants cancel, roles swap, and for a linear critic both penalties are |w|^2",
        ),
        Component(
            name="dirac-converges",
            target="suffuse_r3gan.claims:DiracConverges",
            summary="with R1 or both penalties the Dirac-GAN converges, without it does not",
        ),
        Component(
            name="penalties-stabilise",
            target="suffuse_r3gan.claims:PenaltiesStabilise",
            summary="with both penalties digits are learnt better than with none, at equal time",
        ),
    ]
