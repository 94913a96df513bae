"""The manifest."""

from typing import Any

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="SE(3)-DiffusionFields: Learning smooth cost functions for joint grasp and motion optimization through "
        "diffusion",
        year=2023,
        arxiv="2209.03855",
        kind="method",
        authors="Julen Urain, Niklas Funk, Jan Peters, Georgia Chalvatzaki",
    )
)

_POSES = {"poses": [[0.5, 0.0, 0.0, 0.0, 0.0, 0.3], [-0.5, 0.2, 0.0, 1.0, 0.5, 0.0]], "spread": 0.2}
_MIXTURE = {"use": "se3dif/mixture", "with": _POSES}
_ENERGY: dict[str, Any] = {"points": 4, "width": 8, "features": 2}
_AROUND = {"process": {"use": "se3dif/se3-gaussian"}, "space": {"use": "se3dif/poses"}}
_NEEDS = {"se3-gaussian"}
_GIVES = {"field", "score", "energy"}


@hookimpl
def suffuse_processes() -> list[Component]:
    """The process."""
    return [
        Component(
            name="se3-gaussian",
            target="suffuse_se3dif.process:Se3Gaussian",
            summary="poses times exponentiated Gaussians, whose deviation grows to 0.7355",
            needs={"se3"},
            gives={"se3-gaussian"},
            beside={"space": {"use": "se3dif/poses"}},
        )
    ]


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The objective."""
    return [
        Component(
            name="se3-dsm",
            target="suffuse_se3dif.objective:Se3Dsm",
            summary="denoising score matching of an energy's derivative on the group, and signed distances",
            needs={"se3-gaussian", "score"},
            beside={**_AROUND, "model": {"use": "se3dif/pose-energy", "with": _ENERGY}},
        )
    ]


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The sampler."""
    return [
        Component(
            name="se3-langevin",
            target="suffuse_se3dif.langevin:Se3Langevin",
            summary="annealed Langevin dynamics on the group, then a descent",
            needs={"se3", "se3-gaussian", "score"},
            gives={"stochastic"},
            example={"steps": 12, "repeats": 1, "descents": 3},
            beside={**_AROUND, "model": _MIXTURE},
        )
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """Joint planning."""
    return [
        Component(
            name="grasp-and-motion",
            target="suffuse_se3dif.motion:GraspAndMotion",
            summary="a grasp and the motion of a planar arm to it, by inverse diffusion of a sum of costs",
            needs={"se3-gaussian", "energy"},
        )
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The space and the energies."""
    return [
        Component(
            kind="space",
            name="poses",
            target="suffuse_se3dif.poses:Poses",
            summary="rotations and positions, R (B, 3, 3) and p (B, 3)",
            gives={"se3"},
        ),
        Component(
            kind="denoiser",
            name="pose-energy",
            target="suffuse_se3dif.network:PoseEnergy",
            summary="points moved by the pose, a field of features, one energy",
            needs=_NEEDS,
            gives={*_GIVES, "signed-distance", "conditional"},
            example=_ENERGY,
            beside=_AROUND,
        ),
        Component(
            kind="denoiser",
            name="mixture",
            target="suffuse_se3dif.mixture:PoseMixture",
            summary="Gaussians of the geodesic distance about given poses, known exactly",
            needs=_NEEDS,
            gives={*_GIVES, "conditional"},
            example=_POSES,
            beside=_AROUND,
        ),
        Component(
            kind="denoiser",
            name="sum",
            target="suffuse_se3dif.energy:Sum",
            summary="a weighted sum of energies",
            needs=_NEEDS,
            gives=_GIVES,
            example={"terms": [_MIXTURE, _MIXTURE], "weights": [1.0, 0.5]},
            beside=_AROUND,
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="kernels",
            target="suffuse_se3dif.claims:Kernels",
            summary="the law of the noise and the heat kernel differ by one known factor",
        ),
        Component(
            name="lie-derivative",
            target="suffuse_se3dif.claims:LieDerivative",
            summary="the score is the derivative along the group's own moves, from the left and from the right",
        ),
        Component(
            name="finds-the-pose",
            target="suffuse_se3dif.claims:FindsThePose",
            summary="with the exact energy of one pose the sampler ends on it",
        ),
        Component(
            name="on-the-modes",
            target="suffuse_se3dif.claims:OnTheModes",
            summary="a learned energy's samples lie on the modes of the data, an autoencoder's between them",
        ),
        Component(
            name="nearer-than-vae",
            target="suffuse_se3dif.claims:NearerThanVae",
            summary="their earth mover's distance to data is at most 0.6 of the autoencoder's",
        ),
        Component(
            name="joint-is-better",
            target="suffuse_se3dif.claims:JointIsBetter",
            summary="grasp and motion found together succeed where one drawn grasp is planned for",
        ),
    ]
