"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Stochastic Interpolants: A Unifying Framework for Flows and Diffusions",
        year=2023,
        arxiv="2303.08797",
        kind="method",
        authors="Michael S. Albergo, Nicholas M. Boffi, Eric Vanden-Eijnden",
    )
)

_PROCESS = {"use": "stochastic-interpolants/interpolant"}
_NET = {"use": "mlp/mlp", "with": {"width": 16, "depth": 1, "frequencies": 8, "classes": 3}}
_FIELDS = {"drift_net": _NET, "noise_net": _NET}


@hookimpl
def suffuse_processes() -> list[Component]:
    """The interpolants."""
    return [
        Component(
            name="interpolant",
            target="suffuse_stochastic_interpolants.process:Interpolant",
            summary="a x_0 + b x_1 + gamma z between two data sets",
            gives={"bridge", "interpolant"},
        ),
        Component(
            name="one-sided",
            target="suffuse_stochastic_interpolants.one_sided:OneSided",
            summary="alpha x_0 + sigma z: the other end is Gaussian",
            gives={"gaussian", "linear-gaussian", "markov", "sde"},
        ),
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The losses."""
    return [
        Component(
            name="quadratic",
            target="suffuse_stochastic_interpolants.objective:Quadratic",
            summary="the quadratic losses of b, v, eta and the score, antithetic in z",
            needs={"interpolant", "field"},
            beside={
                "process": _PROCESS,
                "model": {"use": "stochastic-interpolants/fields", "with": _FIELDS},
            },
        )
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The flow and the diffusions of one trained model."""
    return [
        Component(
            name="ode",
            target="suffuse_stochastic_interpolants.ode:Ode",
            summary="dX = b dt by Runge-Kutta, order 1, 2 or 4, either way",
            needs={"mean|field"},
            gives={"inversion"},
        ),
        Component(
            name="sde",
            target="suffuse_stochastic_interpolants.sde:Sde",
            summary="Euler-Maruyama with any diffusion strength eps(t), either way",
            needs={"mean|field", "mean|score"},
            gives={"stochastic"},
            example={"steps": 40},
        ),
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """The likelihood."""
    return [
        Component(
            name="likelihood",
            target="suffuse_stochastic_interpolants.likelihood:Likelihood",
            summary="log-likelihood of data by the divergence of the velocity",
            needs={"mean|field"},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The model."""
    return [
        Component(
            name="fields",
            kind="denoiser",
            target="suffuse_stochastic_interpolants.model:Fields",
            summary="networks for b or v, and for eta or the score",
            needs={"interpolant"},
            gives={"field", "score", "conditional"},
            example=_FIELDS,
            beside={"process": _PROCESS},
            shape=(2,),
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="transport-equation",
            target="suffuse_stochastic_interpolants.claims:TransportEquation",
            summary="b and the score solve the transport equation of the interpolant's density",
        ),
        Component(
            name="exact-likelihood",
            target="suffuse_stochastic_interpolants.claims:ExactLikelihood",
            summary="the flow's likelihood is the mixture's",
        ),
        Component(
            name="any-diffusion",
            target="suffuse_stochastic_interpolants.claims:AnyDiffusion",
            summary="the sampler's law is exact for every eps, in both directions",
        ),
        Component(
            name="likelihood-control",
            target="suffuse_stochastic_interpolants.claims:LikelihoodControl",
            summary="the quadratic loss bounds the divergence of the SDE, and not that of the ODE",
        ),
    ]
