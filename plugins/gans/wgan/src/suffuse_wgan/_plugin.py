"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Wasserstein GAN",
        year=2017,
        arxiv="1701.07875",
        kind="method",
        authors="Martin Arjovsky, Soumith Chintala, Léon Bottou",
    )
)

_CRITIC = {"use": "wgan/mlp-critic", "with": {"shape": [2], "width": 16, "depth": 2, "classes": 3}}
_GENERATOR = {
    "use": "wgan/mlp-generator",
    "with": {
        "latent": {"use": "wgan/gaussian", "with": {"dim": 3}},
        "shape": [2],
        "width": 16,
        "depth": 2,
        "classes": 3,
    },
}


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The losses."""
    return [
        Component(
            name="clip",
            target="suffuse_wgan.clip:Clip",
            summary="Wasserstein GAN as published: the critic's weights are clipped, RMSProp",
            needs={"generator"},
            example={"critic": _CRITIC},
            beside={"generator": _GENERATOR},
        ),
        Component(
            name="gradient-penalty",
            target="suffuse_wgan.penalty:GradientPenalty",
            summary="Wasserstein GAN whose critic's slope is held at, or below, 1",
            needs={"generator"},
            example={"critic": _CRITIC},
            beside={"generator": _GENERATOR},
        ),
        Component(
            name="gan",
            target="suffuse_wgan.gan:Gan",
            summary="the classical adversarial losses, which the paper is compared with",
            needs={"generator"},
            example={"critic": _CRITIC},
            beside={"generator": _GENERATOR},
        ),
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """The learning curve."""
    return [
        Component(
            name="critic-curve",
            target="suffuse_wgan.curve:CriticCurve",
            summary="rank correlation of the critic's estimate and the exact distance during training",
            needs={"generator"},
            example={
                "objective": {"use": "wgan/clip", "with": {"critic": _CRITIC}},
                "steps": 2,
                "every": 1,
                "samples": 4,
                "batch": 4,
            },
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """Latents, generators and critics."""
    return [
        Component(
            name="gaussian",
            kind="latent",
            target="suffuse_wgan.latents:Gaussian",
            summary="standard normal vectors",
            example={"dim": 3},
        ),
        Component(
            name="uniform",
            kind="latent",
            target="suffuse_wgan.latents:Uniform",
            summary="independent uniforms",
            example={"dim": 3},
        ),
        Component(
            name="mlp-generator",
            kind="generator",
            target="suffuse_wgan.mlp:MlpGenerator",
            summary="a perceptron, with labels if wished",
            gives={"generator", "conditional"},
            example=_GENERATOR["with"],
        ),
        Component(
            name="dcgan-generator",
            kind="generator",
            target="suffuse_wgan.dcgan:DcganGenerator",
            summary="transposed convolutions, for images of 8x8 and up",
            gives={"generator"},
            example={"channels": 1, "side": 16, "width": 4, "latent": {"use": "wgan/uniform", "with": {"dim": 5}}},
        ),
        Component(
            name="mlp-critic",
            kind="critic",
            target="suffuse_wgan.mlp:MlpCritic",
            summary="a perceptron, with labels if wished",
            gives={"conditional"},
            example=_CRITIC["with"],
            shape=(2,),
        ),
        Component(
            name="dcgan-critic",
            kind="critic",
            target="suffuse_wgan.dcgan:DcganCritic",
            summary="convolutions, for images of 8x8 and up",
            example={"channels": 1, "side": 16, "width": 4},
            shape=(1, 16, 16),
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="parallel-lines",
            target="suffuse_wgan.claims:ParallelLines",
            summary="W1 of two parallel lines is |theta|, and the loss has its slope",
        ),
        Component(
            name="exact-distances",
            target="suffuse_wgan.claims:ExactDistances",
            summary="W1 on the line by sorting, by assignment and in closed form",
        ),
        Component(
            name="gradient-flow",
            target="suffuse_wgan.claims:GradientFlow",
            summary="a trained critic gives the generator ten times the gradient of the saturating loss",
        ),
        Component(
            name="follows-distance",
            target="suffuse_wgan.claims:FollowsDistance",
            summary="the clipped critic's estimate grows with the distance",
        ),
        Component(
            name="learning-curve",
            target="suffuse_wgan.claims:LearningCurve",
            summary="in training a penalised critic's estimate is correlated with the exact distance",
        ),
        Component(
            name="clipped-curve",
            target="suffuse_wgan.claims:ClippedCurve",
            summary="the same with clipped weights",
        ),
    ]
