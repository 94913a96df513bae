"""The manifest."""

from typing import Any

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Improved off-policy training of diffusion samplers",
        year=2024,
        arxiv="2402.05098",
        kind="method",
        authors="Marcin Sendera, Minsu Kim, Sarthak Mittal, Pablo Lemos, Luca Scimeca, Jarrid Rector-Brooks, "
        "Alexandre Adam, Yoshua Bengio, Nikolay Malkin",
    )
)

_GAUSSIAN = {"gaussian", "linear-gaussian", "markov", "sde"}
_TARGET: dict[str, Any] = {"target": {"use": "energies/lattice"}}
_FLOW = {"use": "gfn-diffusion/fourier-mlp", "with": {"dim": 2, "outputs": 1}}
_PATHS = {"gaussian", "mean", "stochastic"}
_FLOWS = {"mean", "pinned", "stochastic"}


@hookimpl
def suffuse_processes() -> list[Component]:
    """The process."""
    return [
        Component(
            name="pinned",
            target="suffuse_gfn_diffusion.process:Pinned",
            summary="a Brownian bridge from the data to the origin, the fixed backward policy",
            gives={*_GAUSSIAN, "pinned"},
        )
    ]


@hookimpl
def suffuse_backbones() -> list[Component]:
    """The network of drift and flow."""
    return [
        Component(
            name="fourier-mlp",
            target="suffuse_gfn_diffusion.network:FourierMlp",
            summary="an MLP with learned Fourier features of the time",
        )
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The policy's steps."""
    return [
        Component(
            name="euler-maruyama",
            target="suffuse_gfn_diffusion.sampler:EulerMaruyama",
            summary="Euler's method for the reverse SDE, from a posterior mean",
            needs={"gaussian", "mean"},
            gives={"stochastic"},
            example={"grid": {"use": "suffuse/uniform", "with": {"start": 0.99}}},
            beside={"process": {"use": "gfn-diffusion/pinned"}},
        )
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """What is minimised."""
    return [
        Component(
            name="trajectory-balance",
            target="suffuse_gfn_diffusion.balance:TrajectoryBalance",
            summary="squared residual of whole trajectories, on- or off-policy, with a learned log Z",
            needs=_PATHS,
            example=_TARGET,
        ),
        Component(
            name="vargrad",
            target="suffuse_gfn_diffusion.balance:VarGrad",
            summary="trajectory balance with the batch's mean log-weight as log Z",
            needs=_PATHS,
            example=_TARGET,
        ),
        Component(
            name="reverse-kl",
            target="suffuse_gfn_diffusion.balance:ReverseKl",
            summary="the path integral sampler: the KL divergence, differentiated through on-policy trajectories",
            needs=_PATHS,
            example=_TARGET,
        ),
        Component(
            name="maximum-likelihood",
            target="suffuse_gfn_diffusion.balance:MaximumLikelihood",
            summary="likelihood of backward trajectories from exact draws",
            needs=_PATHS,
            example=_TARGET,
        ),
        Component(
            name="detailed-balance",
            target="suffuse_gfn_diffusion.flows:DetailedBalance",
            summary="squared residual of single steps, with a learned flow",
            needs=_FLOWS,
            example={**_TARGET, "flow": _FLOW},
        ),
        Component(
            name="sub-trajectory-balance",
            target="suffuse_gfn_diffusion.flows:SubTrajectoryBalance",
            summary="squared residuals of all parts of trajectories, with a learned, forward-looking flow",
            needs=_FLOWS,
            example={**_TARGET, "flow": _FLOW},
        ),
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """What is measured."""
    return [
        Component(
            name="log-z",
            target="suffuse_gfn_diffusion.task:LogZ",
            summary="lower bound and importance-weighted estimate of log Z, and the distance to exact draws",
            needs=_PATHS,
            example=_TARGET,
            beside={"sampler": {"use": "gfn-diffusion/euler-maruyama"}},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The policy."""
    return [
        Component(
            kind="denoiser",
            name="policy",
            target="suffuse_gfn_diffusion.policy:Policy",
            summary="a learned drift, with a Langevin term or a learned variance, as a denoiser",
            needs={"pinned"},
            gives={"mean"},
            example={"backbone": {"use": "gfn-diffusion/fourier-mlp"}, **_TARGET},
            beside={"process": {"use": "gfn-diffusion/pinned"}},
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper says, executable."""
    return [
        Component(
            name="reference",
            target="suffuse_gfn_diffusion.claims:Reference",
            summary="without drift every balance holds exactly for the motion's own Gaussian",
        ),
        Component(
            name="likelihood",
            target="suffuse_gfn_diffusion.claims:Likelihood",
            summary="PF/PB along backward trajectories is an unbiased estimate of the policy's density",
        ),
        Component(
            name="gradients",
            target="suffuse_gfn_diffusion.claims:Gradients",
            summary="on-policy trajectory balance has the gradient of the reverse KL",
        ),
        Component(
            name="local-search",
            target="suffuse_gfn_diffusion.claims:FindsModes",
            summary="local search and replay find modes that on-policy training misses",
        ),
    ]
