"""The manifest: no torch here."""

from collections.abc import Iterable

from suffuse import Component, Paper, Plugin, hookimpl

plugin = Plugin(
    paper=Paper(
        title="Diffusion Models Beat GANs on Image Synthesis",
        year=2021,
        arxiv="2105.05233",
        kind="method",
        authors="Prafulla Dhariwal, Alex Nichol",
    )
)

_SMALL = {"width": 8, "multipliers": [1, 2], "depth": 1, "attention": [1], "head_width": 4, "groups": 4}
_GAUSSIANS = {
    "use": "adm/gaussian-classes",
    "with": {"means": [[-1.0, 0.5], [1.0, 1.0], [0.5, -1.5]], "std": 0.5},
}
_VECTORS = {
    "model": {
        "use": "suffuse/preconditioned",
        "with": {
            "backbone": {"use": "mlp/mlp", "with": {"shape": [2], "width": 16, "depth": 1, "outputs": 3}},
            "parameterization": {"use": "ddpm/eps"},
            "trained": {"use": "ddpm/linear"},
        },
    }
}


@hookimpl
def suffuse_backbones() -> Iterable[Component]:
    """The U-Net and its half."""
    return [
        Component(
            name="unet",
            target="suffuse_adm.unet:UNet",
            summary="ADM's U-Net: adaptive group norm, BigGAN's resampling, attention at several levels.",
            gives={"conditional"},
            example={"channels": 1, "outputs": 2, "classes": 3, **_SMALL},
            shape=(1, 8, 8),
        ),
        Component(
            name="half-unet",
            target="suffuse_adm.half_unet:HalfUNet",
            summary="The downward path and attention pooling: logits of a noisy image.",
            example={"channels": 1, "side": 8, "classes": 3, **_SMALL},
            shape=(1, 8, 8),
        ),
    ]


@hookimpl
def suffuse_objectives() -> Iterable[Component]:
    """The classifier's."""
    return [
        Component(
            name="noisy-classifier",
            target="suffuse_adm.objective:NoisyClassifier",
            summary="Cross-entropy of the label on noisy states.",
            needs={"gaussian", "logits"},
            beside={
                "model": {"use": "adm/classifier", "with": _VECTORS},
                "process": {"use": "ddpm/linear"},
            },
        )
    ]


@hookimpl
def suffuse_guidance() -> Iterable[Component]:
    """Of the score and of the mean."""
    return [
        Component(
            name="guided-score",
            off={"strength": 0.0},
            target="suffuse_adm.guidance:GuidedScore",
            summary="The classifier's gradient added to the score, for any sampler.",
            needs={"gaussian", "mean"},
            example={"classifier": _GAUSSIANS},
        ),
        Component(
            name="guided-mean",
            off={"strength": 0.0},
            target="suffuse_adm.guidance:GuidedMean",
            summary="The classifier's gradient times the step's variance added to its mean.",
            needs={"gaussian", "stochastic"},
            example={"classifier": _GAUSSIANS},
            beside={"sampler": {"use": "ddpm/ancestral", "with": {"steps": 12}}},
        ),
    ]


@hookimpl
def suffuse_parts() -> Iterable[Component]:
    """The classifiers."""
    return [
        Component(
            kind="denoiser",
            name="classifier",
            target="suffuse_adm.classifier:Classifier",
            summary="p(y | x_t) by a network that is told the noise level.",
            needs={"gaussian"},
            gives={"logits"},
            example=_VECTORS,
            shape=(2,),
        ),
        Component(
            kind="denoiser",
            name="gaussian-classes",
            target="suffuse_adm.classifier:GaussianClasses",
            summary="p(y | x_t) for classes of one isotropic variance, in closed form.",
            needs={"gaussian"},
            gives={"logits"},
            example=_GAUSSIANS["with"],
            shape=(2,),
        ),
    ]


@hookimpl
def suffuse_claims() -> Iterable[Component]:
    """What the paper says, executable."""
    told = {
        "ConditionalScore": ("conditional-score", "With the exact classifier the guided score is the conditional one."),
        "MeanShift": ("mean-shift", "A guided ancestral step is that of algorithm 1."),
        "ParameterCounts": ("parameter-counts", "The published networks have the published numbers of parameters."),
        "Fidelity": ("fidelity", "A stronger gradient brings more samples into their class."),
        "Diversity": ("diversity", "A stronger gradient makes samples of a class more alike."),
        "NoisyBeatsClean": ("noisy-beats-clean", "A classifier must be trained on noisy states."),
    }
    return [
        Component(name=name, target=f"suffuse_adm.claims:{cls}", summary=summary)
        for cls, (name, summary) in told.items()
    ]
