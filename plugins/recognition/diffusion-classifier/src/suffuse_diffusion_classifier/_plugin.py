"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Your Diffusion Model is Secretly a Zero-Shot Classifier",
        year=2023,
        kind="method",
        arxiv="2303.16203",
        authors="Alexander C. Li, Mihir Prabhudesai, Shivam Duggal, Ellis Brown, Deepak Pathak",
    )
)

_NEEDS = {"gaussian", "mean"}


@hookimpl
def suffuse_tasks() -> list[Component]:
    """The tasks."""
    return [
        Component(
            name="classify",
            target="suffuse_diffusion_classifier.classify:Classify",
            summary="the condition of least denoising error, with classes pruned in stages",
            needs=_NEEDS,
            example={"stages": [[4, 1]]},
        ),
        Component(
            name="match",
            target="suffuse_diffusion_classifier.match:Match",
            summary="which of two conditions belongs to each sample; Winoground's text score",
            needs=_NEEDS,
            example={"samples": 4},
        ),
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The weighting under which errors are likelihoods."""
    return [
        Component(
            name="likelihood",
            kind="weighting",
            target="suffuse_diffusion_classifier.likelihood:Likelihood",
            summary="half the rate of the log-SNR: summed errors differ by log-likelihood ratios",
            needs={"gaussian"},
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="likelihood-ratio",
            target="suffuse_diffusion_classifier.claims:LikelihoodRatio",
            summary="errors integrated over log-SNR are log-likelihood ratios; uniform ones are not",
        ),
        Component(
            name="shared-noise",
            target="suffuse_diffusion_classifier.claims:SharedNoise",
            summary="one noise for all classes: far more accurate than a fresh one for each",
        ),
        Component(
            name="beats-samples",
            target="suffuse_diffusion_classifier.claims:BeatsSamples",
            summary="above a classifier trained on the model's samples",
        ),
        Component(
            name="near-bayes",
            target="suffuse_diffusion_classifier.claims:NearBayes",
            summary="within 0.02 of the best accuracy at 64 evaluations",
        ),
        Component(
            name="uniform-weights",
            target="suffuse_diffusion_classifier.claims:UniformWeights",
            summary="unweighted errors classify better than the bound's",
        ),
        Component(
            name="elimination",
            target="suffuse_diffusion_classifier.claims:Elimination",
            summary="pruning classes early loses little and costs less than half",
        ),
    ]
