"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Score Jacobian Chaining: Lifting Pretrained 2D Diffusion Models for 3D Generation",
        year=2023,
        kind="method",
        arxiv="2212.00774",
        authors="Haochen Wang, Xiaodan Du, Jiahao Li, Raymond A. Yeh, Greg Shakhnarovich",
    )
)

_NEEDS = {"gaussian", "mean"}


@hookimpl
def suffuse_tasks() -> list[Component]:
    """From images to scenes."""
    return [
        Component(
            name="lift",
            target="suffuse_sjc.lift:Lift",
            summary="scenes whose views a frozen denoiser takes for data",
            needs=_NEEDS,
            example={"renderer": {"use": "sjc/crops"}, "descent": {"steps": 2}},
        )
    ]


@hookimpl
def suffuse_guidance() -> list[Component]:
    """Scoring images without noise."""
    return [
        Component(
            name="perturb",
            target="suffuse_sjc.perturb:Perturb",
            summary="perturb-and-average scoring of states without noise",
            needs=_NEEDS,
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """Renderers and noise levels."""
    return [
        Component(
            kind="renderer",
            name="crops",
            target="suffuse_sjc.linear:Crops",
            summary="views of a 2-D field are its crops",
        ),
        Component(
            kind="renderer",
            name="projections",
            target="suffuse_sjc.linear:Projections",
            summary="views of a voxel grid are its means along parallel rays",
        ),
        Component(
            kind="renderer",
            name="voxels",
            target="suffuse_sjc.voxels:Voxels",
            summary="the voxel radiance field, volume-rendered",
        ),
        Component(
            kind="times",
            name="ticks",
            target="suffuse_sjc.levels:Ticks",
            summary="a chain's steps without its ends",
        ),
        Component(
            kind="times",
            name="log-uniform",
            target="suffuse_sjc.levels:LogUniform",
            summary="noise levels uniform in their logarithm",
            needs={"gaussian"},
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="level",
            target="suffuse_sjc.claims:Level",
            summary="both estimators have the score at sigma as their mean, and their closed-form noise",
        ),
        Component(
            name="chain-rule",
            target="suffuse_sjc.claims:ChainRule",
            summary="a step moves the parameters along the transposed renderer's image of the score",
        ),
        Component(
            name="out-of-distribution",
            target="suffuse_sjc.claims:OutOfDistribution",
            summary="a trained denoiser's scores of clean blurred images are wrong, averaged ones are right",
            extras=["claims"],
        ),
        Component(
            name="variance",
            target="suffuse_sjc.claims:VarianceReduced",
            summary="leaving out the noise's term lowers the variance at high noise, and raises it at low noise",
            extras=["claims"],
        ),
        Component(
            name="likelier-views",
            target="suffuse_sjc.claims:LikelierViews",
            summary="scenes lifted with averaged scores look likelier than with scores at clean views",
            extras=["claims"],
        ),
    ]
