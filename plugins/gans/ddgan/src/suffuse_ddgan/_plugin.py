"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Tackling the Generative Learning Trilemma with Denoising Diffusion GANs",
        year=2022,
        arxiv="2112.07804",
        kind="method",
        authors="Zhisheng Xiao, Karsten Kreis, Arash Vahdat",
    )
)

# Ten steps: the contract suite asks denoisers at t = 0.1, 0.3, ...
_GENERATOR = {
    "backbone": {
        "use": "mlp/mlp",
        "with": {"shape": [5], "outputs": 2, "width": 16, "depth": 1, "frequencies": 4, "classes": 3},
    },
    "latent": {"use": "wgan/gaussian", "with": {"dim": 4}},
    "T": 10,
    "width": 3,
    "depth": 1,
    "output": "linear",
}
_CRITIC = {
    "critic": {"use": "wgan/mlp-critic", "with": {"shape": [14], "width": 16, "depth": 2, "classes": 3}},
    "T": 10,
}
_PROCESS = {"use": "ddpm/linear", "with": {"beta_min": 0.1197801, "beta_max": 19.98}}


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The loss."""
    return [
        Component(
            name="denoising-gan",
            target="suffuse_ddgan.objective:DenoisingGan",
            summary="a conditional GAN for each of a few long denoising steps",
            needs={"gaussian", "draw"},
            example={"critic": {"use": "ddgan/step-critic", "with": _CRITIC}, "T": 10},
            beside={"process": _PROCESS, "model": {"use": "ddgan/latent-generator", "with": _GENERATOR}},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The two players."""
    return [
        Component(
            name="latent-generator",
            kind="denoiser",
            target="suffuse_ddgan.generator:LatentGenerator",
            summary="a backbone with a latent: draws from p(x_0 | x_t)",
            needs={"gaussian"},
            gives={"draw", "conditional"},
            example=_GENERATOR,
            beside={"process": _PROCESS},
            shape=(2,),
        ),
        Component(
            name="step-critic",
            kind="critic",
            target="suffuse_ddgan.critic:StepCritic",
            summary="any critic, made one of denoising steps (x_s, x_t, t)",
            gives={"transitions", "conditional"},
            example=_CRITIC,
            shape=(2,),
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="chain",
            target="suffuse_ddgan.claims:Chain",
            summary="the published few-step chain and its posterior are ddpm/linear's at k/T",
        ),
        Component(
            name="pair",
            target="suffuse_ddgan.claims:PairLaw",
            summary="the discriminator's real pairs are neighbours on one path",
        ),
        Component(
            name="draws-are-exact",
            target="suffuse_ddgan.claims:DrawsAreExact",
            summary="draws of x_0 make long steps exact, the mean of x_0 does not",
        ),
        Component(
            name="few-steps",
            target="suffuse_ddgan.claims:FewSteps",
            summary="two trained long steps against the same Gaussian steps with the exact denoiser",
        ),
        Component(
            name="one-step",
            target="suffuse_ddgan.claims:OneStep",
            summary="four steps against one",
        ),
    ]
