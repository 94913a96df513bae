"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Progressive Distillation for Fast Sampling of Diffusion Models",
        year=2022,
        arxiv="2202.00512",
        kind="method",
        authors="Tim Salimans, Jonathan Ho",
    )
)


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The objective."""
    return [
        Component(
            name="progressive",
            target="suffuse_progressive_distillation.objective:Progressive",
            summary="two DDIM steps of the teacher become one of the student, who becomes the teacher",
            needs={"gaussian", "mean"},
            example={"first": 8},
            beside={"process": {"use": "ddpm/cosine", "with": {"s": 0.0}}},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The weights."""
    return [
        Component(
            name=name,
            kind="weighting",
            target=f"suffuse_progressive_distillation.weighting:{target}",
            summary=summary,
        )
        for name, target, summary in (
            ("snr", "Snr", "the signal-to-noise ratio on the error of x0"),
            ("truncated-snr", "TruncatedSnr", "the greater of the squared errors of x0 and eps"),
            ("snr-plus-one", "SnrPlusOne", "the squared error of v"),
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="target",
            target="suffuse_progressive_distillation.claims:Target",
            summary="one step at the target lands where two of the teacher's do",
        ),
        Component(
            name="gaussian-student",
            target="suffuse_progressive_distillation.claims:GaussianStudent",
            summary="on Gaussian data the student of closed form has its teacher's samples",
        ),
        Component(
            name="one-step",
            target="suffuse_progressive_distillation.claims:OneStep",
            summary="after distillation one step is nearer to the many-step samples than the teacher's own",
        ),
    ]
