"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Elucidating the Design Space of Diffusion-Based Generative Models",
        year=2022,
        arxiv="2206.00364",
        kind="method",
        authors="Tero Karras, Miika Aittala, Timo Aila, Samuli Laine",
    )
)

_GAUSSIAN = {"gaussian", "linear-gaussian", "markov", "sde"}
_SAMPLER = {"gaussian", "mean"}


@hookimpl
def suffuse_processes() -> list[Component]:
    """The process."""
    return [
        Component(
            name="edm",
            target="suffuse_edm.process:Edm",
            summary="sigma_t = sigma_max t, alpha_t = 1",
            gives=_GAUSSIAN,
        )
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The objective."""
    return [
        Component(
            name="loss",
            target="suffuse_edm.loss:EdmLoss",
            summary="Weighted denoising error at log-normal noise levels",
            needs=_SAMPLER,
        )
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The samplers."""
    return [
        Component(
            name="heun",
            target="suffuse_edm.deterministic:Heun",
            summary="Algorithm 1: Heun's method over sigma/alpha, order 2",
            needs=_SAMPLER,
        ),
        Component(
            name="euler",
            target="suffuse_edm.deterministic:Euler",
            summary="Euler's method over sigma/alpha, order 1",
            needs=_SAMPLER,
        ),
        Component(
            name="stochastic",
            target="suffuse_edm.stochastic:Stochastic",
            summary="Algorithm 2: noise is added before each step of Heun",
            example={"steps": 40},
            needs=_SAMPLER,
        ),
        Component(
            name="ablation",
            target="suffuse_edm.ablation:Ablation",
            summary="Runge-Kutta of order 1 or 2 in the process's own time and scale",
            needs=_SAMPLER,
        ),
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """Parameterization, times, weighting and grid."""
    return [
        Component(
            name="precondition",
            kind="parameterization",
            target="suffuse_edm.precondition:Precondition",
            summary="c_skip, c_out, c_in and c_noise for unit variance at every level",
            needs={"gaussian"},
        ),
        Component(
            name="log-normal",
            kind="times",
            target="suffuse_edm.loss:LogNormal",
            summary="ln(sigma/alpha) from a normal law",
            needs={"gaussian"},
        ),
        Component(
            name="lambda",
            kind="weighting",
            target="suffuse_edm.loss:Lambda",
            summary="1/c_out^2 on the error of the denoiser",
            needs={"gaussian"},
        ),
        Component(
            name="rho",
            kind="grid",
            target="suffuse_edm.grid:Rho",
            summary="Noise levels evenly spaced after the rho-th root",
            needs={"gaussian"},
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="unit-variance",
            target="suffuse_edm.claims:UnitVariance",
            summary="Network input and target have unit variance at every level",
        ),
        Component(
            name="orders",
            target="suffuse_edm.claims:Orders",
            summary="Euler converges with order 1 and Heun with order 2 to the closed form",
        ),
        Component(
            name="one-trajectory",
            target="suffuse_edm.claims:OneTrajectory",
            summary="The VP trajectory over s(t) is that of sigma(t) = t",
        ),
        Component(
            name="heun-beats-euler",
            target="suffuse_edm.claims:HeunBeatsEuler",
            summary="At 79 evaluations Heun is 2.5 times as accurate as the Euler baselines",
        ),
        Component(
            name="rho-seven",
            target="suffuse_edm.claims:RhoSeven",
            summary="At 35 evaluations rho = 7 is twice as accurate as rho = 3",
        ),
    ]
