"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Plugin

plugin = Plugin(paper=None)


@hookimpl
def suffuse_datasets() -> list[Component]:
    """The data."""
    return [
        Component(name="digits", target="suffuse_digits.dataset:Digits", summary="1797 handwritten digits, 8x8"),
    ]


@hookimpl
def suffuse_metrics() -> list[Component]:
    """How good samples are."""
    return [
        Component(
            name="frechet",
            target="suffuse_digits.metrics:Frechet",
            summary="Fréchet distance of a classifier's features; lower is better",
            shape=(1, 8, 8),
        ),
        Component(
            name="accuracy",
            target="suffuse_digits.metrics:Accuracy",
            summary="share of samples that a classifier reads as asked; higher is better",
            shape=(1, 8, 8),
        ),
    ]


@hookimpl
def suffuse_guidance() -> list[Component]:
    """Filling in."""
    return [
        Component(
            name="replace",
            target="suffuse_digits.replace:Replace",
            summary="known elements are put back after each step, with resampling",
            needs={"gaussian"},
        ),
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """What the weights are used for."""
    return [
        Component(
            name="fill-in",
            target="suffuse_digits.fill_in:FillIn",
            summary="test digits with a part hidden, filled in again",
            needs={"gaussian"},
        ),
        Component(
            name="quality",
            target="suffuse_digits.quality:Quality",
            summary="Fréchet distance to the test digits, class accuracy, evaluations and a gallery",
            needs={"conditional"},
        ),
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The metrics' eyes."""
    return [
        Component(
            kind="encoder",
            name="classifier",
            target="suffuse_digits.classifier:Classifier",
            summary="a trained convolutional network that reads digits",
            shape=(1, 8, 8),
        ),
    ]


@hookimpl
def suffuse_weights() -> list[Component]:
    """Trained pipelines."""
    return [
        Component(name="ddpm", target="suffuse_digits.shipped:DDPM", summary="eps, cosine schedule, U-Net; classes"),
        Component(name="edm", target="suffuse_digits.shipped:EDM", summary="EDM, diffusion transformer; classes"),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What can be checked in a minute."""
    return [
        Component(
            name="frechet-closed-form",
            target="suffuse_digits.claims:FrechetClosedForm",
            summary="the distance of two Gaussians, in closed form",
        ),
        Component(
            name="guidance-is-read",
            target="suffuse_digits.claims:GuidanceIsRead",
            summary="guided digits are read as asked more often than unguided, at equal evaluations",
        ),
        Component(
            name="resampling-agrees",
            target="suffuse_digits.claims:ResamplingAgrees",
            summary="resampling fills in better than plain replacement at equal evaluations",
        ),
    ]
