"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Score-based Generative Modeling of Graphs via the System of Stochastic Differential Equations",
        year=2022,
        arxiv="2202.02514",
        kind="method",
        authors="Jaehyeong Jo, Seul Lee, Sung Ju Hwang",
    )
)

_SPACE = {"use": "graph-sets/graphs", "with": {"nodes": 5, "features": 2}}
# An end without signal, so that the exact score's samples have the exact law.
_LINEAR = {"use": "ddpm/linear", "with": {"beta_min": 0.1, "beta_max": 20.0}}
_SYSTEM = {"use": "gdss/graph-system", "with": {"x": _LINEAR, "adj": _LINEAR, "sizes": [0.0, 0.0, 0.3, 0.3, 0.4]}}
_EXACT = {"process": {**_SYSTEM, "with": {**_SYSTEM["with"], "sizes": []}}, "space": _SPACE}


@hookimpl
def suffuse_processes() -> list[Component]:
    """The system, and a process for one of its equations."""
    return [
        Component(
            name="graph-system",
            target="suffuse_gdss.process:GraphSystem",
            summary="one Gaussian process on nodes and one on edges, noise symmetric and masked",
            needs={"graphs"},
            gives={"graph-system", "linear-gaussian", "sde"},
            example={"sizes": [0.0, 0.0, 0.3, 0.3, 0.4]},
            beside={"space": _SPACE},
        ),
        Component(
            name="ve",
            target="suffuse_gdss.ve:Ve",
            summary="alpha = 1, sigma grows by the same factor in equal times",
            gives={"gaussian", "linear-gaussian", "markov", "sde"},
        ),
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The objective."""
    return [
        Component(
            name="partial-scores",
            target="suffuse_gdss.loss:PartialScores",
            summary="denoising score matching of each leaf's score of the joint law",
            needs={"linear-gaussian", "mean|noise"},
        )
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The samplers."""
    return [
        Component(
            name="s4",
            target="suffuse_gdss.s4:S4",
            summary="symmetric splitting, one evaluation a step for correction and prediction",
            needs={"graph-system", "noise"},
            gives={"stochastic"},
            example={"steps": 12, "snr": 0.0},
            beside=_EXACT,
        ),
        Component(
            name="pc",
            target="suffuse_gdss.predictor_corrector:PredictorCorrector",
            summary="Langevin corrections, then an Euler or reverse-diffusion step, on nodes and edges at once",
            needs={"graph-system", "noise"},
            gives={"stochastic"},
            example={"steps": 12, "corrections": 0},
            beside=_EXACT,
        ),
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The networks."""
    return [
        Component(
            kind="denoiser",
            name="scores",
            target="suffuse_gdss.scores:GraphScores",
            summary="graph convolutions for the nodes' score, graph multi-head attention for the edges'",
            needs={"graph-system"},
            gives={"noise"},
            example={"features": 2, "width": 8, "depth": 2, "layers": 2, "attention": 8, "heads": 2},
            beside={"process": _SYSTEM, "space": _SPACE},
        ),
    ]


@hookimpl
def suffuse_weights() -> list[Component]:
    """Trained pipelines."""
    return [
        Component(
            name="community-small",
            target="suffuse_gdss.shipped:COMMUNITY_SMALL",
            summary="a small network, trained by the recipe community-small-quick",
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="equivariant",
            target="suffuse_gdss.claims:Equivariant",
            summary="both scores move with the nodes, and the edges' is symmetric",
        ),
        Component(
            name="linear-part",
            target="suffuse_gdss.claims:LinearPart",
            summary="S4 without score is the forward process's own linear part, backward",
        ),
        Component(
            name="gaussian-pairs",
            target="suffuse_gdss.claims:GaussianPairs",
            summary="with exact scores of a correlated Gaussian the sampler returns its covariance",
        ),
        Component(
            name="joint-scores",
            target="suffuse_gdss.claims:JointScores",
            summary="scores of the joint law tie edges to nodes, those of the marginals do not",
        ),
        Component(
            name="coupled-networks",
            target="suffuse_gdss.claims:CoupledNetworks",
            summary="the network of the edges' score learns better if it sees the nodes",
        ),
        Component(
            name="makes-communities",
            target="suffuse_gdss.claims:MakesCommunities",
            summary="the shipped network's graphs are nearer to the test graphs than random ones of equal size",
        ),
        Component(
            name="s4-is-cheaper",
            target="suffuse_gdss.claims:S4IsCheaper",
            summary="at 40 evaluations S4 is nearer to the data than Euler's predictor with corrections",
        ),
        Component(
            name="s4-is-best",
            target="suffuse_gdss.claims:S4IsBest",
            summary="at 40 evaluations S4 is nearer to the data than every predictor and corrector",
        ),
    ]
