"""The manifest: no torch here."""

from collections.abc import Iterable

from suffuse import Component, Paper, Plugin, hookimpl

plugin = Plugin(
    paper=Paper(
        title="Improved Denoising Diffusion Probabilistic Models",
        year=2021,
        arxiv="2102.09672",
        kind="method",
        authors="Alex Nichol, Prafulla Dhariwal",
    )
)

_LEARNED = {"gaussian", "mean", "variance"}


def _model(backbone: str, **settings: object) -> dict[str, object]:
    """The network, parameterization and process of a learned range, as in a spec."""
    return {
        "use": "suffuse/preconditioned",
        "with": {
            "backbone": {"use": backbone, "with": settings},
            "parameterization": {"use": "ddpm/eps"},
            "trained": {"use": "ddpm/discrete", "with": {"T": 50, "schedule": "cosine"}},
        },
    }


_VECTORS = {
    "use": "iddpm/learned-range",
    "with": {"model": _model("mlp/mlp", shape=[2], width=16, depth=1, frequencies=4, outputs=4, classes=3)},
}
_BESIDE = {"model": _VECTORS, "process": {"use": "ddpm/discrete", "with": {"T": 50, "schedule": "cosine"}}}


@hookimpl
def suffuse_objectives() -> Iterable[Component]:
    """The hybrid and the bound."""
    return [
        Component(
            name="hybrid",
            target="suffuse_iddpm.hybrid:Hybrid",
            summary="L_simple for the mean and 0.001 of the bound for the variance.",
            needs=_LEARNED,
            example={"levels": 0},
            beside=_BESIDE,
        ),
        Component(
            name="vlb",
            target="suffuse_iddpm.vlb:Vlb",
            summary="The bound alone, with steps drawn by the size of their latest losses.",
            needs=_LEARNED,
            example={"levels": 0},
            beside=_BESIDE,
        ),
    ]


@hookimpl
def suffuse_samplers() -> Iterable[Component]:
    """The reverse chain with the model's variance."""
    return [
        Component(
            name="ancestral",
            target="suffuse_iddpm.ancestral:Ancestral",
            summary="One Gaussian draw a step, with the variance that the model tells.",
            needs=_LEARNED,
            gives={"stochastic"},
            example={"steps": 30},
        )
    ]


@hookimpl
def suffuse_tasks() -> Iterable[Component]:
    """Likelihood."""
    return [
        Component(
            name="bound",
            target="suffuse_iddpm.bound:Bound",
            summary="The variational bound with learned variances, on any sub-sequence, in bits/dim.",
            needs=_LEARNED,
        )
    ]


@hookimpl
def suffuse_parts() -> Iterable[Component]:
    """The denoiser and the grid."""
    return [
        Component(
            kind="denoiser",
            name="learned-range",
            target="suffuse_iddpm.denoiser:LearnedRange",
            summary="A mean and a variance between beta-tilde and beta, from twice the channels.",
            needs={"gaussian"},
            gives={"mean", "conditional", "variance"},
            example={"model": _model("ddpm/unet", channels=1, width=8, multipliers=[1, 2], outputs=2)},
            shape=(1, 8, 8),
        ),
        Component(
            kind="grid",
            name="spaced",
            target="suffuse_iddpm.spaced:Spaced",
            summary="Whole steps of a chain, evenly spaced, the first and the last included.",
            example={"T": 1000},
        ),
    ]


@hookimpl
def suffuse_claims() -> Iterable[Component]:
    """What the paper says, executable."""
    told = {
        "RespacedRange": ("respaced-range", "v = 1 and v = -1 are beta and beta-tilde of every sub-sequence."),
        "HeldMean": ("held-mean", "The bound inside the hybrid gives no gradient to the mean."),
        "SameExpectation": ("same-expectation", "Importance sampling does not change the expected loss."),
        "ImportanceSampling": (
            "importance-sampling",
            "Importance sampling halves the variance of the bound's estimate.",
        ),
        "BetterBound": (
            "better-bound",
            "With few steps learned variances bound the likelihood better than fixed ones.",
        ),
        "FewSteps": ("few-steps", "With few steps the right variance samples better than beta."),
        "FewStepsAgainstSmall": ("few-steps-against-small", "With few steps it samples better than beta-tilde."),
    }
    return [
        Component(name=name, target=f"suffuse_iddpm.claims:{cls}", summary=summary)
        for cls, (name, summary) in told.items()
    ]
