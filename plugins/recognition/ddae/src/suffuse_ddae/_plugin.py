"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Denoising Diffusion Autoencoders are Unified Self-supervised Learners",
        year=2023,
        kind="study",
        arxiv="2303.09769",
        authors="Weilai Xiang, Hongyu Yang, Di Huang, Yunhong Wang",
    )
)

_TRAIN, _TEST = ({"use": "digits/digits", "with": {"split": split}} for split in ("train", "test"))


@hookimpl
def suffuse_tasks() -> list[Component]:
    """What features are good for."""
    return [
        Component(
            name="probe",
            target="suffuse_ddae.probe:Probe",
            summary="linear heads on every block and noise level, and which serve best",
            example={"train": _TRAIN, "test": _TEST},
            extras=["claims"],
        ),
        Component(
            name="fine-tune",
            target="suffuse_ddae.tune:FineTune",
            summary="a classifier that begins as the part of a denoiser below a block",
            example={"train": _TRAIN, "test": _TEST, "block": "middle"},
            extras=["claims"],
        ),
        Component(
            name="contrast",
            target="suffuse_ddae.contrast:Contrast",
            summary="alignment and uniformity of every block's features",
            example={"data": _TEST},
            extras=["claims"],
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="affine",
            target="suffuse_ddae.claims:Affine",
            summary="of one Gaussian, the estimate of the data at any noise level holds all that the pixels hold",
        ),
        Component(
            name="independent-heads",
            target="suffuse_ddae.claims:IndependentHeads",
            summary="heads trained together are those trained alone",
            extras=["claims"],
        ),
        Component(
            name="some-noise",
            target="suffuse_ddae.claims:SomeNoise",
            summary="features at an intermediate noise level separate classes better than data do",
        ),
        Component(
            name="training-counts",
            target="suffuse_ddae.claims:TrainingCounts",
            summary="a trained network's blocks against the same network with random weights",
            extras=["claims"],
        ),
    ]
