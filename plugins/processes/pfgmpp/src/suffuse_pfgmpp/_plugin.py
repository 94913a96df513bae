"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="PFGM++: Unlocking the Potential of Physics-Inspired Generative Models",
        year=2023,
        arxiv="2302.04265",
        kind="method",
        authors="Yilun Xu, Ziming Liu, Yonglong Tian, Shangyuan Tong, Max Tegmark, Tommi Jaakkola",
    )
)


@hookimpl
def suffuse_processes() -> list[Component]:
    """The process."""
    return [
        Component(
            name="pfgmpp",
            target="suffuse_pfgmpp.process:Pfgmpp",
            summary="a diffusion's schedule with Student noise of D degrees of freedom; no SDE for finite D",
            gives={"gaussian", "linear-gaussian", "markov", "sde"},
            example={"D": 128.0},
        )
    ]


@hookimpl
def suffuse_guidance() -> list[Component]:
    """The instrument of the robustness study."""
    return [
        Component(
            name="inject",
            off={"alpha": 0.0},
            target="suffuse_pfgmpp.inject:Inject",
            summary="noise of alpha sigma_t before every step",
            needs={"gaussian"},
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What is asserted."""
    return [
        Component(
            name="field",
            target="suffuse_pfgmpp.claims:Field",
            summary="the denoiser's flow is the direction of the electric field",
        ),
        Component(
            name="diffusion-limit",
            target="suffuse_pfgmpp.claims:DiffusionLimit",
            summary="at D = 1e8 samples are those of EDM, draw by draw",
        ),
        Component(
            name="robust",
            target="suffuse_pfgmpp.claims:Robust",
            summary="with small D injected noise does less harm than with Gaussian noise",
        ),
    ]
