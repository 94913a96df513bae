"""The manifest: no torch here."""

from collections.abc import Iterable

from suffuse import Component, Paper, Plugin, hookimpl

plugin = Plugin(
    paper=Paper(
        title="Denoising Diffusion Probabilistic Models",
        year=2020,
        arxiv="2006.11239",
        kind="method",
        authors="Jonathan Ho, Ajay Jain, Pieter Abbeel",
    )
)

_GAUSSIAN = {"gaussian", "linear-gaussian", "markov", "sde"}
_MEAN = {"gaussian", "mean"}


@hookimpl
def suffuse_processes() -> Iterable[Component]:
    """The chain, and its limits in continuous time."""
    return [
        Component(
            name="linear",
            target="suffuse_ddpm.linear:Linear",
            summary="Variance preserving, with noise at a rate linear in time.",
            gives=_GAUSSIAN,
        ),
        Component(
            name="cosine",
            target="suffuse_ddpm.cosine:Cosine",
            summary="Variance preserving, with the squared cosine as the signal's variance.",
            gives=_GAUSSIAN,
        ),
        Component(
            name="discrete",
            target="suffuse_ddpm.discrete:Discrete",
            summary="The published chain of T steps, with linear or cosine betas.",
            gives=_GAUSSIAN,
        ),
    ]


@hookimpl
def suffuse_backbones() -> Iterable[Component]:
    """The U-Net."""
    return [
        Component(
            name="unet",
            target="suffuse_ddpm.unet:UNet",
            summary="The paper's U-Net, from 35.7M parameters down to 8x8 digits.",
            gives={"conditional"},
            example={"channels": 1, "width": 8, "multipliers": [1, 2], "attention": [1], "classes": 3},
            shape=(1, 8, 8),
        )
    ]


@hookimpl
def suffuse_objectives() -> Iterable[Component]:
    """The simplified loss and the bound."""
    return [
        Component(
            name="simple",
            target="suffuse_ddpm.simple:Simple",
            summary="The mean squared error of the network's own output at a random time.",
            needs=_MEAN,
        ),
        Component(
            name="vlb",
            target="suffuse_ddpm.vlb:Vlb",
            summary="One random term of the variational bound, in bits/dim.",
            needs=_MEAN,
            example={"levels": 0},
        ),
    ]


@hookimpl
def suffuse_samplers() -> Iterable[Component]:
    """The reverse chain."""
    return [
        Component(
            name="ancestral",
            target="suffuse_ddpm.ancestral:Ancestral",
            summary="One Gaussian draw a step, with variance beta or beta-tilde.",
            needs={"gaussian", "mean|draw"},
            gives={"stochastic"},
            example={"steps": 30},
        )
    ]


@hookimpl
def suffuse_tasks() -> Iterable[Component]:
    """Likelihood and compression."""
    return [
        Component(
            name="bound",
            target="suffuse_ddpm.bound:Bound",
            summary="The variational bound on data's negative log-likelihood, term by term, in bits/dim.",
            needs=_MEAN,
        ),
        Component(
            name="progressive",
            target="suffuse_ddpm.progressive:Progressive",
            summary="Progressive lossy decoding: rate against distortion along the chain.",
            needs=_MEAN,
        ),
    ]


@hookimpl
def suffuse_parts() -> Iterable[Component]:
    """What the above are made of."""
    family = {"gaussian"}
    return [
        Component(
            kind="parameterization",
            name="eps",
            target="suffuse_ddpm.parameterization:Eps",
            summary="The network says the noise.",
            needs=family,
        ),
        Component(
            kind="parameterization",
            name="x0",
            target="suffuse_ddpm.parameterization:X0",
            summary="The network says the data.",
            needs=family,
        ),
        Component(
            kind="parameterization",
            name="v",
            target="suffuse_ddpm.parameterization:V",
            summary="The network says alpha eps - sigma x0.",
            needs=family,
        ),
        Component(
            kind="parameterization",
            name="score",
            target="suffuse_ddpm.parameterization:Score",
            summary="The network says the score.",
            needs=family,
        ),
        Component(
            kind="times",
            name="steps",
            target="suffuse_ddpm.times:Steps",
            summary="Uniform over the steps of a chain; over (0, 1] in continuous time.",
        ),
        Component(
            kind="grid",
            name="strided",
            target="suffuse_ddpm.times:Strided",
            summary="Whole steps of a chain, evenly spaced from the last.",
        ),
        Component(
            kind="weighting",
            name="vlb",
            target="suffuse_ddpm.vlb:VlbWeight",
            summary="The variational bound's weight of each noise level.",
        ),
    ]


@hookimpl
def suffuse_claims() -> Iterable[Component]:
    """What the paper says, executable."""
    return [
        Component(
            name="marginals",
            target="suffuse_ddpm.claims:Marginals",
            summary="Composed steps have the closed-form marginal.",
        ),
        Component(
            name="mean-from-eps",
            target="suffuse_ddpm.claims:MeanFromEps",
            summary="The posterior mean in eps is equation 11.",
        ),
        Component(
            name="unit-gaussian",
            target="suffuse_ddpm.claims:UnitGaussian",
            summary="On N(0, I) data the loss has its closed form and the large variance is exact.",
        ),
        Component(
            name="weighted-loss-is-divergence",
            target="suffuse_ddpm.claims:WeightedLossIsDivergence",
            summary="The weighted loss is the divergence of a step.",
        ),
        Component(
            name="simple-beats-bound",
            target="suffuse_ddpm.digits:SimpleBeatsBound",
            summary="The unweighted loss gives better samples than the bound's weights.",
            extras=("claims",),
        ),
    ]
