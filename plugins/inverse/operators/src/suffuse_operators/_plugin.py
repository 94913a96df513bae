"""The manifest."""

from collections.abc import Iterable

from suffuse.hooks import hookimpl
from suffuse.records import Component, Plugin

plugin = Plugin(paper=None)

_LINEAR = {"linear-operator", "svd"}
_IMAGE = (1, 8, 8)


@hookimpl
def suffuse_parts() -> Iterable[Component]:
    """Operators and noise."""
    return [
        Component(
            kind="operator",
            name="inpaint",
            target="suffuse_operators.masks:Inpaint",
            summary="a random share of the elements or pixels is seen",
            gives=_LINEAR,
            shape=_IMAGE,
        ),
        Component(
            kind="operator",
            name="box",
            target="suffuse_operators.masks:Box",
            summary="a box in the middle of an image is hidden",
            gives=_LINEAR,
            shape=_IMAGE,
        ),
        Component(
            kind="operator",
            name="super-resolution",
            target="suffuse_operators.separable:SuperResolution",
            summary="fewer pixels, by bicubic reduction or block averages",
            gives=_LINEAR,
            shape=_IMAGE,
        ),
        Component(
            kind="operator",
            name="gaussian-blur",
            target="suffuse_operators.separable:GaussianBlur",
            summary="convolution with a Gaussian, edges mirrored",
            gives=_LINEAR,
            example={"std": 1.0},
            shape=_IMAGE,
        ),
        Component(
            kind="operator",
            name="motion-blur",
            target="suffuse_operators.fourier:MotionBlur",
            summary="periodic convolution with the path of a shaken camera",
            gives=_LINEAR,
            example={"length": 4.0},
            shape=_IMAGE,
        ),
        Component(
            kind="operator",
            name="fourier",
            target="suffuse_operators.fourier:Fourier",
            summary="some columns of the Fourier transform, as in magnetic resonance imaging",
            gives=_LINEAR,
            shape=(2, 8, 8),
        ),
        Component(
            kind="operator",
            name="matrix",
            target="suffuse_operators.dense:Matrix",
            summary="any matrix, given by its rows",
            gives=_LINEAR,
            example={"rows": [[1.0, 0.5, 0.0, -2.0], [0.0, 1.0, 0.3, 0.0], [1.0, 1.5, 0.3, -2.0]]},
            shape=(4,),
        ),
        Component(
            kind="operator",
            name="compressed-sensing",
            target="suffuse_operators.dense:CompressedSensing",
            summary="random Gaussian projections",
            gives=_LINEAR,
            shape=_IMAGE,
        ),
        Component(
            kind="operator",
            name="tomography",
            target="suffuse_operators.dense:Tomography",
            summary="parallel-beam projections under few angles",
            gives=_LINEAR,
            example={"size": 8, "views": 5},
            shape=(2, 8, 8),
        ),
        Component(
            kind="operator",
            name="phase-retrieval",
            target="suffuse_operators.nonlinear:PhaseRetrieval",
            summary="the amplitude of the padded Fourier transform",
            shape=_IMAGE,
        ),
        Component(
            kind="operator",
            name="hdr",
            target="suffuse_operators.nonlinear:HighDynamicRange",
            summary="over-exposure: clip(2 x, -1, 1)",
            shape=_IMAGE,
        ),
        Component(
            kind="noise",
            name="gaussian",
            target="suffuse_operators.noise:GaussianNoise",
            summary="white Gaussian noise",
        ),
        Component(
            kind="noise",
            name="poisson",
            target="suffuse_operators.noise:PoissonNoise",
            summary="counts of photons",
        ),
    ]


@hookimpl
def suffuse_datasets() -> Iterable[Component]:
    """Data."""
    return [
        Component(
            name="photos",
            target="suffuse_operators.photos:Photos",
            summary="patches of two photographs, 3x32x32 unless set",
        )
    ]


@hookimpl
def suffuse_metrics() -> Iterable[Component]:
    """How good restorations are."""
    return [
        Component(
            name="psnr",
            target="suffuse_operators.metrics:Psnr",
            summary="peak signal-to-noise ratio in dB; higher is better",
            shape=_IMAGE,
        ),
        Component(
            name="ssim",
            target="suffuse_operators.metrics:Ssim",
            summary="structural similarity; higher is better",
            shape=_IMAGE,
        ),
        Component(
            name="consistency",
            target="suffuse_operators.metrics:Consistency",
            summary="distance to the measurement in units of the noise; 1 is right",
            shape=_IMAGE,
        ),
    ]


@hookimpl
def suffuse_tasks() -> Iterable[Component]:
    """Restoring, and judging posteriors."""
    return [
        Component(
            name="restore",
            target="suffuse_operators.restore:Restore",
            summary="measured rows of a data set, restored and compared",
        ),
        Component(
            name="posterior",
            target="suffuse_operators.posterior:Posterior",
            summary="samples given a measurement against a mixture's exact posterior",
        ),
    ]


@hookimpl
def suffuse_claims() -> Iterable[Component]:
    """What can be relied on."""
    return [
        Component(
            name="decompositions",
            target="suffuse_operators.claims:Decompositions",
            summary="each closed-form decomposition is that of the operator's matrix",
        ),
        Component(
            name="exact-posterior",
            target="suffuse_operators.claims:ExactPosterior",
            summary="guided by the exact likelihood score, samples pass as exact posterior draws",
        ),
    ]
