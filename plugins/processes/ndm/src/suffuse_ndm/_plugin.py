"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Neural Diffusion Models",
        year=2023,
        arxiv="2310.08337",
        kind="method",
        authors="Grigory Bartosh, Dmitry Vetrov, Christian A. Naesseth",
    )
)

_NEEDS = {"transform|gaussian", "endpoint|mean"}


def _mlp(size: int, classes: int = 0) -> dict[str, object]:
    settings = {"shape": [size], "width": 16, "depth": 1, "frequencies": 8, "classes": classes}
    return {"use": "mlp/mlp", "with": settings}


def _pair() -> dict[str, object]:
    return {
        "model": {"use": "ndm/predictor", "with": {"backbone": _mlp(2, 3)}},
        "process": {"use": "ndm/neural", "with": {"network": _mlp(2)}},
    }


@hookimpl
def suffuse_processes() -> list[Component]:
    """The processes."""
    return [
        Component(
            name="neural",
            target="suffuse_ndm.process:NeuralDiffusion",
            summary="noise around a learned, time-dependent transform of the data",
            gives={"learned", "transform"},
            example={"network": _mlp(3)},
            beside={"space": {"use": "suffuse/euclidean", "with": {"shape": [3]}}},
        ),
        Component(
            name="gamma",
            target="suffuse_ndm.process:Gamma",
            summary="log-SNR linear in t, between two ends",
            gives={"gaussian", "linear-gaussian", "markov", "sde"},
        ),
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The bounds."""
    return [
        Component(
            name="discrete",
            target="suffuse_ndm.bound:Discrete",
            summary="the bound in T steps, for transform and model together, in bits/dim",
            needs=_NEEDS,
            beside=_pair(),
        ),
        Component(
            name="continuous",
            target="suffuse_ndm.bound:Continuous",
            summary="the bound in continuous time",
            needs=_NEEDS,
            beside=_pair(),
        ),
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The samplers."""
    return [
        Component(
            name="posterior",
            target="suffuse_ndm.samplers:Posterior",
            summary="the posterior with the predicted data, random or deterministic",
            needs=_NEEDS,
            gives={"stochastic"},
            example={"steps": 20},
            beside={"process": "ndm/gamma"},
        ),
        Component(
            name="flow",
            target="suffuse_ndm.samplers:Flow",
            summary="the reverse SDE or ODE with the transform's derivative in time",
            needs=_NEEDS,
            gives={"stochastic"},
            example={"steps": 20},
            beside={"process": "ndm/gamma"},
        ),
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The model."""
    return [
        Component(
            kind="denoiser",
            name="predictor",
            target="suffuse_ndm.predictor:Predictor",
            summary="a network that tells the data",
            gives={"endpoint", "conditional"},
            example={"backbone": _mlp(3)},
            shape=(3,),
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What is asserted."""
    return [
        Component(
            name="limit",
            target="suffuse_ndm.claims:Limit",
            summary="the sum of T divergences tends to the integral of continuous time",
        ),
        Component(
            name="marginals",
            target="suffuse_ndm.claims:Marginals",
            summary="posteriors of the true x keep the marginals, whatever eta",
        ),
        Component(
            name="tighter",
            target="suffuse_ndm.claims:Tighter",
            summary="a learned transform tightens the bound of few steps",
        ),
    ]
