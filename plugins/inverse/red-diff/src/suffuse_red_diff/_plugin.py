"""The manifest."""

from collections.abc import Iterable

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="A Variational Perspective on Solving Inverse Problems with Diffusion Models",
        year=2023,
        kind="method",
        arxiv="2305.04391",
        authors="Morteza Mardani, Jiaming Song, Jan Kautz, Arash Vahdat",
    )
)


@hookimpl
def suffuse_tasks() -> Iterable[Component]:
    """The task."""
    return [
        Component(
            name="red-diff",
            target="suffuse_red_diff.task:RedDiff",
            summary="restoration by Adam, a data term and the denoiser's residual as regulariser",
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
            target="suffuse_red_diff.claims:Gradient",
            summary="the regulariser's gradient in closed form",
            extras=["claims"],
        ),
        Component(
            name="restores",
            target="suffuse_red_diff.claims:Restores",
            summary="more faithful than DPS at equal passes through the denoiser",
            extras=["claims"],
        ),
        Component(
            name="equal-evaluations",
            target="suffuse_red_diff.claims:EqualEvaluations",
            summary="more faithful than DPS at equal evaluations, passes back not counted",
            extras=["claims"],
        ),
        Component(
            name="weighting",
            target="suffuse_red_diff.claims:Weighted",
            summary="weights of 1/SNR beat constant ones",
            extras=["claims"],
        ),
        Component(
            name="descending",
            target="suffuse_red_diff.claims:Descending",
            summary="descending times beat random ones",
            extras=["claims"],
        ),
        Component(
            name="no-sampler",
            target="suffuse_red_diff.claims:NoSampler",
            summary="farther from the exact posterior than DPS's samples",
            extras=["claims"],
        ),
    ]
