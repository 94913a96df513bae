"""The manifest."""

from typing import Any

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Derivative-Free Guidance in Continuous and Discrete Diffusion Models with Soft Value-Based Decoding",
        year=2024,
        arxiv="2408.08252",
        kind="method",
        authors="Xiner Li, Yulai Zhao, Chenyu Wang, Gabriele Scalia, Gokcen Eraslan, Surag Nair, Tommaso Biancalani, "
        "Shuiwang Ji, Aviv Regev, Sergey Levine, Masatoshi Uehara",
    )
)

_REWARD: dict[str, Any] = {"reward": {"use": "ddpo/quadratic"}}
_BACKBONE = {"use": "md4/transformer", "with": {"symbols": 4, "shape": [2], "width": 16, "depth": 1, "heads": 2}}


@hookimpl
def suffuse_guidance() -> list[Component]:
    """The guidance."""
    return [
        Component(
            name="svdd",
            target="suffuse_svdd.guidance:Svdd",
            summary="each step draws M candidates and keeps one by its value; no gradient of the reward",
            needs={"stochastic"},
            example={"value": {"use": "svdd/posterior-mean", "with": _REWARD}, "alpha": 0.5},
            off={"candidates": 1},
            beside={
                "process": {"use": "ddpm/cosine"},
                "sampler": {
                    "use": "ddim/ddim",
                    "with": {"steps": 8, "eta": 1.0, "grid": {"use": "suffuse/uniform", "with": {"start": 0.98}}},
                },
            },
        )
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """What trains a value."""
    return [
        Component(
            name="value-regression",
            target="suffuse_svdd.regression:ValueRegression",
            summary="SVDD-MC: the final reward regressed on the states of trajectories",
            needs={"learned-value", "stochastic"},
            example=_REWARD,
        )
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """The baseline."""
    return [
        Component(
            name="best-of",
            target="suffuse_svdd.best_of:BestOf",
            summary="of N whole samples the one of the highest reward, for each row",
            example=_REWARD,
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """Values."""
    return [
        Component(
            kind="value",
            name="posterior-mean",
            target="suffuse_svdd.values:PosteriorMean",
            summary="SVDD-PM: the reward of the predicted data, nothing trained",
            needs={"mean|draw|logits"},
            example=_REWARD,
        ),
        Component(
            kind="value",
            name="learned",
            target="suffuse_svdd.values:Learned",
            summary="SVDD-MC: a network's answer to the state and the time",
            gives={"learned-value"},
            example={"backbone": _BACKBONE},
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""

    def claim(name: str, target: str, summary: str) -> Component:
        return Component(name=name, target=f"suffuse_svdd.claims:{target}", summary=summary)

    return [
        claim("choice", "Choice", "a step of M candidates has the law of weighted choice, for every M"),
        claim("tilted", "Tilted", "with the soft value and many candidates the samples are those of p exp(r/alpha)"),
        claim("gaussian", "Gaussian", "so it is with Gaussian steps, for a law known in closed form"),
        claim("beats-best-of", "BeatsBestOf", "SVDD-PM has higher rewards than best-of-N at equal evaluations"),
        claim("learned-beats-best-of", "LearnedBeatsBestOf", "SVDD-MC has higher rewards than best-of-N at equal M"),
    ]
