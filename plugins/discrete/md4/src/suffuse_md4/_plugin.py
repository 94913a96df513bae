"""The manifest."""

from typing import Any

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Simplified and Generalized Masked Diffusion for Discrete Data",
        year=2024,
        arxiv="2406.04329",
        kind="method",
        authors="Jiaxin Shi, Kehang Han, Zhe Wang, Arnaud Doucet, Michalis K. Titsias",
    )
)

_MASKED = {"discrete", "jump", "markov", "masked"}
_LINEAR = {"process": {"use": "md4/linear", "with": {"symbols": 4}}}
_STATEWISE = {"process": {"use": "md4/statewise", "with": {"symbols": 4, "power": 2.0}}}
_NETWORK = {"use": "md4/transformer", "with": {"symbols": 4, "shape": [3], "width": 16, "depth": 1, "heads": 2}}


def _process(name: str, target: str, summary: str, more: frozenset[str] = frozenset()) -> Component:
    return Component(
        name=name,
        target=f"suffuse_md4.{target}",
        summary=summary,
        needs={"tokens"},
        gives=_MASKED | more,
        example={"symbols": 4},
    )


@hookimpl
def suffuse_processes() -> list[Component]:
    """Masked processes."""
    return [
        _process("linear", "schedules:Linear", "alpha = 1 - t"),
        _process("polynomial", "schedules:Polynomial", "alpha = 1 - t^power"),
        _process("cosine", "schedules:Cosine", "alpha = 1 - cos(pi/2 (1 - t))"),
        _process("geometric", "schedules:Geometric", "alpha = exp(-beta_min^(1 - t) beta_max^t)"),
        _process(
            "statewise",
            "statewise:Statewise",
            "GenMD4: a learned exponent for every symbol",
            frozenset({"learned"}),
        ),
    ]


@hookimpl
def suffuse_backbones() -> list[Component]:
    """The network."""
    return [
        Component(
            name="transformer",
            target="suffuse_md4.transformer:Transformer",
            summary="a bidirectional transformer of tokens",
            gives={"conditional"},
            example={"symbols": 4, "shape": [3, 2], "width": 12, "depth": 2, "heads": 2, "classes": 4},
        )
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The bound."""
    return [
        Component(
            name="nelbo",
            target="suffuse_md4.nelbo:Nelbo",
            summary="the bound at a random time: a weighted cross-entropy of masked tokens",
            needs={"masked", "logits"},
            beside=_LINEAR,
        ),
        Component(
            name="genmd4",
            target="suffuse_md4.genmd4:GenMd4",
            summary="the bound under schedules that are learned with it",
            needs={"masked", "logits", "learned"},
            beside=_STATEWISE,
        ),
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """Ancestral sampling."""
    return [
        Component(
            name="ancestral",
            target="suffuse_md4.sampler:Ancestral",
            summary="x_s from the posterior under softmax(logits), every position by itself",
            needs={"discrete", "logits"},
            gives={"stochastic"},
            example={"steps": 20},
            beside=_LINEAR,
        )
    ]


@hookimpl
def suffuse_guidance() -> list[Component]:
    """Nucleus sampling."""
    return [
        Component(
            name="top-p",
            off={"p": 1.0},
            target="suffuse_md4.top_p:TopP",
            summary="keep the likeliest symbols up to a probability p",
            needs={"logits"},
            example={"p": 0.7},
            beside=_LINEAR,
        )
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """The bound as a measurement."""
    return [
        Component(
            name="bound",
            target="suffuse_md4.task:Bound",
            summary="an upper bound on the negative log-likelihood, in bits a token",
            needs={"masked", "logits"},
            beside=_LINEAR,
        )
    ]


@hookimpl
def suffuse_codecs() -> list[Component]:
    """From grey values to tokens."""
    return [
        Component(
            name="levels",
            target="suffuse_md4.levels:Levels",
            summary="values at even levels as tokens",
            example={"low": -10.0, "high": 10.0, "symbols": 64},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The denoiser, times, the grid and the ending."""

    def part(kind: str, name: str, target: str, summary: str, **more: Any) -> Component:  # noqa: ANN401
        return Component(kind=kind, name=name, target=f"suffuse_md4.{target}", summary=summary, **more)

    return [
        part(
            "denoiser",
            "tokens",
            "denoiser:TokenDenoiser",
            "a backbone whose output is logits of the clean symbols",
            needs={"discrete"},
            gives={"logits", "conditional"},
            example={"backbone": _NETWORK},
            beside=_LINEAR,
        ),
        part("times", "antithetic", "nelbo:Antithetic", "evenly spaced times from one random start"),
        part("grid", "cosine", "sampler:CosineGrid", "few tokens at first, then more and more"),
        part(
            "terminal",
            "decode",
            "sampler:Decode",
            "a step to t = 0; what is still masked becomes the likeliest symbol",
            beside=_LINEAR,
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""

    def claim(name: str, target: str, summary: str) -> Component:
        return Component(name=name, target=f"suffuse_md4.claims:{target}", summary=summary)

    return [
        claim("tight", "Tight", "with the exact conditionals the bound is the entropy, for every schedule"),
        claim("chain-limit", "ChainLimit", "the bound of T steps falls to that of continuous time"),
        claim("one-step", "OneStep", "one step gives the product of the marginals; the error falls as 1/T"),
        claim("generalises", "Generalises", "GenMD4 with equal exponents is MD4, term by term"),
        claim("masked-beats-uniform", "MaskedBeatsUniform", "masked sampling is closer to the data at equal steps"),
        claim("digits-bits", "DigitsBits", "trained on digits, masking gives fewer bits than uniform transitions"),
        claim("statewise-bits", "StatewiseBits", "trained on digits, GenMD4 gives fewer bits than MD4"),
    ]
