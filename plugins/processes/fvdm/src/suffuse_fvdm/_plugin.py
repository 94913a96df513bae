"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Redefining Temporal Modeling in Video Diffusion: The Vectorized Timestep Approach",
        year=2024,
        kind="method",
        arxiv="2410.03160",
        authors="Yaofang Liu, Yumeng Ren, Xiaodong Cun, Aitor Artola, Yang Liu, Tieyong Zeng, Raymond H. Chan, "
        "Jean-michel Morel",
    )
)


@hookimpl
def suffuse_backbones() -> list[Component]:
    """The network."""
    return [
        Component(
            name="latte",
            target="suffuse_fvdm.latte:Latte",
            summary="a transformer in space and time whose modulation differs from frame to frame",
            gives={"conditional"},
            example={
                "frames": 3,
                "channels": 2,
                "size": [4, 4],
                "width": 32,
                "depth": 4,
                "heads": 4,
                "mlp_ratio": 2.0,
                "classes": 5,
            },
            shape=(3, 2, 4, 4),
        )
    ]


@hookimpl
def suffuse_guidance() -> list[Component]:
    """What is known beforehand."""
    return [
        Component(
            name="known-frames",
            target="suffuse_fvdm.known:KnownFrames",
            summary="known frames stand at time 0 in the model's view: image to video, interpolation, long video",
            needs={"gaussian", "mean"},
        )
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The walk along vectors of times."""
    return [
        Component(
            name="frames",
            target="suffuse_fvdm.sampler:Frames",
            summary="DDIM with a time for each frame, from all at once to one frame after another",
            needs={"gaussian", "mean"},
            gives={"stochastic"},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The times of training."""
    return [
        Component(
            kind="times",
            name="ptss",
            target="suffuse_fvdm.ptss:Ptss",
            summary="each frame its own time in a share of the batches, else one time a sample",
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="one-time",
            target="suffuse_fvdm.claims:OneTime",
            summary="equal times are the ordinary model, network and sampler",
            extras=["claims"],
        ),
        Component(
            name="any-path",
            target="suffuse_fvdm.claims:AnyPath",
            summary="every path of time vectors leads to the law of the videos",
            extras=["claims"],
        ),
        Component(
            name="known-frame",
            target="suffuse_fvdm.claims:KnownFrame",
            summary="a video that starts from a given frame has the exact conditional law; replacement drifts",
            extras=["claims"],
        ),
        Component(
            name="trained",
            target="suffuse_fvdm.trained:Trained",
            summary="independent times in a fifth of the batches make a network conditional",
        ),
    ]
