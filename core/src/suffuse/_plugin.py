"""The core's own manifest: grids, endings and combinators that belong to no paper."""

from typing import Any

from suffuse.hooks import hookimpl
from suffuse.records import Component, Plugin

plugin = Plugin(paper=None)


# A small clipping range, so that the suite sees the clip act.
_CLIP = {"use": "suffuse/clip", "with": {"low": -0.5, "high": 0.5}}


def _part(kind: str, name: str, target: str, summary: str, **more: Any) -> Component:  # noqa: ANN401
    return Component(kind=kind, name=name, target=f"suffuse.{target}", summary=summary, **more)


@hookimpl
def suffuse_guidance() -> list[Component]:
    """Combinators of guidance."""
    return [
        _part("guidance", "chain", "parts:Chain", "several guidances in order", example={"parts": [_CLIP]}),
        _part(
            "guidance",
            "interval",
            "parts:Interval",
            "a guidance in an interval of time only",
            example={"guidance": _CLIP},
        ),
        _part(
            "guidance",
            "clip",
            "parts:Clip",
            "clip the data estimate",
            needs={"mean"},
            example=_CLIP["with"],
        ),
    ]


@hookimpl
def suffuse_codecs() -> list[Component]:
    """Codecs without weights."""
    return [
        _part("codec", "identity", "parts:Identity", "states are data"),
        _part("codec", "range", "parts:Range", "data of a given range as states in [-1, 1]"),
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """Grids, endings, and what training and composition start from."""
    return [
        _part("grid", "uniform", "parts:Uniform", "evenly spaced times"),
        _part("grid", "log-snr", "parts:LogSnr", "evenly spaced log-SNR", needs={"gaussian"}),
        _part("terminal", "to-zero", "parts:ToZero", "one more step of the solver, to t = 0"),
        _part("terminal", "stop", "parts:Stop", "end at the grid's last time"),
        _part("terminal", "at-mean", "parts:AtMean", "end with the denoiser's estimate of the data"),
        _part("times", "uniform-times", "parts:UniformTimes", "training times uniform in (0, 1]"),
        _part("weighting", "unit", "parts:UnitWeight", "every noise level counts alike"),
        _part(
            "space",
            "euclidean",
            "contracts.space:Euclidean",
            "one real tensor of a fixed shape",
            gives={"flat"},
            example={"shape": [2]},
        ),
        _part(
            "space",
            "tokens",
            "contracts.space:Tokens",
            "one integer tensor of a fixed shape",
            gives={"tokens"},
            example={"shape": [3], "symbols": 4},
        ),
        _part(
            "denoiser",
            "preconditioned",
            "preconditioned:Preconditioned",
            "a backbone read through a parameterization",
            example={
                "backbone": {"use": "mlp/mlp", "with": {"shape": [2]}},
                "parameterization": {"use": "ddpm/eps"},
                "trained": {"use": "ddpm/linear"},
            },
            needs={"gaussian"},
            gives={"mean"},
        ),
    ]
