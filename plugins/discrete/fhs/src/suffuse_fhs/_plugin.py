"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Masked Diffusion Models are Secretly Time-Agnostic Masked Models and Exploit Inaccurate "
        "Categorical Sampling",
        year=2024,
        arxiv="2409.02908",
        kind="method",
        authors="Kaiwen Zheng, Yongxin Chen, Hanzi Mao, Ming-Yu Liu, Jun Zhu, Qinsheng Zhang",
    )
)

_MASKED = {"masked", "logits"}
_LINEAR = {"process": {"use": "md4/linear", "with": {"symbols": 4}}}


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The sampler."""
    return [
        Component(
            name="first-hitting",
            target="suffuse_fhs.sampler:FirstHitting",
            summary="draws when the next token is revealed: one evaluation a token, and exact",
            needs=_MASKED,
            gives={"stochastic"},
            example={"steps": 20},
            beside=_LINEAR,
        )
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The bound without time."""
    return [
        Component(
            name="masked-count",
            target="suffuse_fhs.objective:MaskedCount",
            summary="cross-entropy of a uniform number of masked tokens",
            needs=_MASKED,
            beside=_LINEAR,
        )
    ]


@hookimpl
def suffuse_metrics() -> list[Component]:
    """Diversity."""
    return [
        Component(
            name="token-entropy",
            target="suffuse_fhs.diagnostics:TokenEntropy",
            summary="entropy of the token frequencies within a sequence; higher is more diverse",
        )
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """The fault of categorical draws."""
    return [
        Component(
            name="precision",
            target="suffuse_fhs.diagnostics:Precision",
            summary="the entropy that cut-off Gumbel noise costs in ancestral sampling, in closed form",
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""

    def claim(name: str, target: str, summary: str) -> Component:
        return Component(name=name, target=f"suffuse_fhs.claims:{target}", summary=summary)

    return [
        claim("exact-law", "ExactLaw", "with as many calls as tokens the sampler's law is the data's"),
        claim("hitting-times", "HittingTimes", "the times of the reveals are order statistics"),
        claim("count-is-bound", "CountIsBound", "the loss without time is the bound of every schedule"),
        claim("truncated-law", "TruncatedLaw", "the law of cut-off Gumbel-max draws, in closed form"),
        claim("grid-law", "GridLaw", "the law of draws with uniforms of few bits, against the closed form of the cut"),
        claim("fewer-calls", "FewerCalls", "four calls beat sixteen of ancestral sampling"),
        claim("float32-is-colder", "Float32IsColder", "float32 noise draws rare tokens too seldom"),
    ]
