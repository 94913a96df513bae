"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Where to Diffuse, How to Diffuse, and How to Get Back: Automated Learning for Multivariate Diffusions",
        year=2023,
        arxiv="2302.07261",
        kind="method",
        authors="Raghav Singhal, Mark Goldstein, Rajesh Ranganath",
    )
)

_SDE = {"linear-gaussian", "sde"}
_SAMPLER = {"sde", "mean|noise"}
_SPACE = {"use": "mdm/augmented", "with": {"shape": [3], "variables": 2}}
_NETWORK = {"use": "mlp/mlp", "with": {"shape": [6], "width": 16, "depth": 1, "frequencies": 8}}


@hookimpl
def suffuse_processes() -> list[Component]:
    """The processes."""
    return [
        Component(
            name="linear",
            target="suffuse_mdm.process:LinearSde",
            summary="the linear SDE of given matrices on data and auxiliary variables",
            gives=_SDE,
            beside={"space": _SPACE},
        ),
        Component(
            name="learned",
            target="suffuse_mdm.process:LearnedSde",
            summary="the same, with matrices that are trained",
            gives={"learned", *_SDE},
            beside={"space": _SPACE},
        ),
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The objective."""
    return [
        Component(
            name="elbo",
            target="suffuse_mdm.bound:Elbo",
            summary="the bound on log p(x) of any linear SDE, in bits/dim; trains the process too",
            needs={"linear-gaussian", "sde", "mean|noise"},
            beside={"process": "ddpm/linear"},
        )
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The samplers."""
    return [
        Component(
            name="euler-maruyama",
            target="suffuse_mdm.samplers:EulerMaruyama",
            summary="the reversed SDE of any linear process with a score",
            needs=_SAMPLER,
            gives={"stochastic"},
            example={"steps": 40},
            beside={"process": "ddpm/linear"},
        ),
        Component(
            name="flow",
            target="suffuse_mdm.samplers:Flow",
            summary="its probability flow, by Euler or Heun",
            needs=_SAMPLER,
            example={"steps": 20},
            beside={"process": "ddpm/linear"},
        ),
    ]


@hookimpl
def suffuse_codecs() -> list[Component]:
    """Data and states."""
    return [
        Component(
            name="lift",
            target="suffuse_mdm.state:Lift",
            summary="data with auxiliary variables of zero; decoding forgets them",
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """Denoiser, space, grid and times."""
    return [
        Component(
            kind="denoiser",
            name="joint",
            target="suffuse_mdm.joint:Joint",
            summary="one network that sees all variables and tells the noise of each",
            needs={"linear-gaussian"},
            gives={"noise", "conditional"},
            example={"backbone": _NETWORK},
            beside={"process": "mdm/linear", "space": _SPACE},
            shape=(3,),
        ),
        Component(
            kind="space",
            name="augmented",
            target="suffuse_mdm.state:Augmented",
            summary="K tensors of the data's shape: x, v, v2, ...",
            gives={"flat"},
            example={"shape": [3], "variables": 3},
        ),
        Component(
            kind="grid",
            name="quadratic",
            target="suffuse_mdm.samplers:Quadratic",
            summary="times finer towards t_min, by a square",
        ),
        Component(
            kind="times",
            name="importance",
            target="suffuse_mdm.bound:Importance",
            summary="density beta/(1 - exp(-B)), with weights that undo it",
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What is asserted."""
    return [
        Component(
            name="closed-forms",
            target="suffuse_mdm.claims:ClosedForms",
            summary="the automatic kernel equals the published ones of VP and CLD",
        ),
        Component(
            name="bound-gap",
            target="suffuse_mdm.claims:BoundGap",
            summary="with the exact score the bound's gap is the divergence at t = 1",
        ),
        Component(
            name="learned-mixes",
            target="suffuse_mdm.claims:LearnedMixes",
            summary="learned matrices halve the gap of critically damped Langevin at equal noise",
        ),
    ]
