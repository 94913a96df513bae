"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Cold Diffusion: Inverting Arbitrary Image Transforms Without Noise",
        year=2022,
        arxiv="2208.09392",
        kind="method",
        authors="Arpit Bansal, Eitan Borgnia, Hong-Min Chu, Jie S. Li, Hamid Kazemi, Furong Huang, Micah Goldblum, "
        "Jonas Geiping, Tom Goldstein",
    )
)

_MORPH = {"use": "cold-diffusion/animorph"}
_NET = {"use": "mlp/mlp", "with": {"shape": [1, 8, 8], "width": 16, "depth": 1, "frequencies": 8}}


@hookimpl
def suffuse_processes() -> list[Component]:
    """The degradations."""
    chains = [
        ("blur", "separable:Blur", "Gaussian blurs one upon another", {}, (1, 8, 8)),
        ("pixelate", "separable:Pixelate", "averages over growing blocks: super-resolution", {}, (1, 8, 8)),
        ("mask", "mask:Mask", "a soft hole that grows about a place: inpainting", {}, (1, 8, 8)),
        ("desaturate", "fade:Desaturate", "colours fade to grey", {}, (3, 4, 4)),
        ("snow", "snow:Snow", "snow falls thicker and thicker", {}, (3, 8, 8)),
    ]
    return [
        Component(
            name=name,
            target=f"suffuse_cold_diffusion.{target}",
            summary=summary,
            gives={"degradation"},
            example=example,
            shape=shape,
        )
        for name, target, summary, example, shape in chains
    ] + [
        Component(
            name="animorph",
            target="suffuse_cold_diffusion.animorph:Animorph",
            summary="one image turns into another, or into noise",
            gives={"degradation", "gaussian", "linear-gaussian", "markov", "sde"},
        )
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The loss."""
    return [
        Component(
            name="l1",
            target="suffuse_cold_diffusion.objective:L1",
            summary="absolute error of the restoration from any step",
            needs={"degradation"},
            beside={"process": _MORPH},
        )
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The algorithms."""
    return [
        Component(
            name=name,
            target=f"suffuse_cold_diffusion.samplers:{target}",
            summary=summary,
            needs={"degradation"},
            example={"end": "estimated", "steps": 20},
            beside={"process": _MORPH},
        )
        for name, target, summary in (
            ("naive", "Naive", "algorithm 1: restore, and degrade again"),
            ("improved", "Improved", "algorithm 2: x_t - D(x_0, t) + D(x_0, s)"),
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The model."""
    return [
        Component(
            name="restorer",
            kind="denoiser",
            target="suffuse_cold_diffusion.restorer:Restorer",
            summary="a backbone that says where the degradation came from",
            gives={"endpoint", "conditional"},
            example={"backbone": _NET, "scale": 20.0},
            shape=(1, 8, 8),
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper asserts."""
    return [
        Component(
            name="linear-path",
            target="suffuse_cold_diffusion.claims:LinearPath",
            summary="on a linear path algorithm 2 is exact whatever the network says",
        ),
        Component(
            name="hot",
            target="suffuse_cold_diffusion.claims:Hot",
            summary="with its noise estimated, algorithm 2 is DDIM",
        ),
        Component(
            name="improved-beats-naive",
            target="suffuse_cold_diffusion.claims:ImprovedBeatsNaive",
            summary="algorithm 2 restores blurred digits better than algorithm 1, for every linear restorer",
        ),
        Component(
            name="trained-network",
            target="suffuse_cold_diffusion.claims:TrainedNetwork",
            summary="so it does with a network trained by the L1 loss, and better than one direct restoration",
        ),
    ]
