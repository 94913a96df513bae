"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Directly Fine-Tuning Diffusion Models on Differentiable Rewards",
        year=2023,
        arxiv="2309.17400",
        kind="method",
        authors="Kevin Clark, Paul Vicol, Kevin Swersky, David J Fleet",
    )
)

_REWARD = {"reward": {"use": "ddpo/quadratic"}}
_MODEL = {
    "use": "suffuse/preconditioned",
    "with": {
        "backbone": {"use": "mlp/mlp", "with": {"shape": [2], "width": 16, "depth": 1}},
        "parameterization": {"use": "ddpm/v", "with": {"scale": 1.0, "shift": 0.0}},
        "trained": {"use": "ddpm/cosine"},
    },
}


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The reward's gradient through sampling."""
    return [
        Component(
            name="draft",
            target="suffuse_draft.objectives:Draft",
            summary="the reward's gradient through the last K steps of sampling, or all",
            needs={"differentiable"},
            example=_REWARD,
        ),
        Component(
            name="draft-lv",
            target="suffuse_draft.objectives:DraftLv",
            summary="the gradient through the last step, from several noisings of the sample",
            needs={"differentiable", "markov"},
            example=_REWARD,
        ),
    ]


@hookimpl
def suffuse_adapters() -> list[Component]:
    """Low-rank adapters."""
    return [
        Component(name="lora", target="suffuse_draft.lora:Lora", summary="low-rank updates of linear layers' weights")
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """A model with an adapter, and a reward."""
    return [
        Component(
            kind="denoiser",
            name="adapted",
            target="suffuse_draft.lora:Adapted",
            summary="a frozen denoiser with a low-rank update that trains, at any scale",
            gives={"conditional", "mean"},
            example={"model": _MODEL},
        ),
        Component(
            kind="reward",
            name="class-likelihood",
            target="suffuse_draft.rewards:ClassLikelihood",
            summary="log-probability of a class under any classifier",
            gives={"differentiable"},
            example={"encoder": {"use": "digits/classifier"}, "label": 7},
            shape=(1, 8, 8),
            extras=("claims",),
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper says, executable."""
    return [
        Component(
            name="gradient",
            target="suffuse_draft.claims:Gradient",
            summary="gradients through all and through the last steps are those of the closed form",
            extras=("claims",),
        ),
        Component(
            name="truncation",
            target="suffuse_draft.claims:Truncation",
            summary="DRaFT-1 reaches a higher reward than the gradient through the full chain",
            extras=("claims",),
        ),
        Component(
            name="lower-variance",
            target="suffuse_draft.claims:LowerVariance",
            summary="several noisings of each sample lower the variance of DRaFT-1's gradient",
            extras=("claims",),
        ),
        Component(
            name="beats-policy-gradient",
            target="suffuse_draft.claims:BeatsPolicyGradient",
            summary="on digits DRaFT needs fewer reward queries than DDPO",
            extras=("claims",),
        ),
    ]
