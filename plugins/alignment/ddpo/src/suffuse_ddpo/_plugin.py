"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="Training Diffusion Models with Reinforcement Learning",
        year=2023,
        arxiv="2305.13301",
        kind="method",
        authors="Kevin Black, Michael Janner, Yilun Du, Ilya Kostrikov, Sergey Levine",
    )
)

_REWARD = {"reward": {"use": "ddpo/quadratic"}}


@hookimpl
def suffuse_objectives() -> list[Component]:
    """The policy gradients and their baseline."""
    return [
        Component(
            name="importance-sampling",
            target="suffuse_ddpo.policy_gradient:ImportanceSampling",
            summary="DDPO-IS: clipped ratios of transitions, several updates on each epoch's trajectories",
            needs={"stochastic"},
            example=_REWARD,
        ),
        Component(
            name="score-function",
            target="suffuse_ddpo.policy_gradient:ScoreFunction",
            summary="DDPO-SF: REINFORCE over denoising steps",
            needs={"stochastic"},
            example=_REWARD,
        ),
        Component(
            name="reward-weighted",
            target="suffuse_ddpo.regression:RewardWeighted",
            summary="RWR: the denoising loss on one's own samples, weighted by reward; also the sparse form",
            needs={"gaussian", "mean"},
            example=_REWARD,
        ),
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """Rewards."""
    return [
        Component(
            kind="reward",
            name="quadratic",
            target="suffuse_ddpo.rewards:Quadratic",
            summary="minus the squared distance to a point",
            gives={"differentiable"},
        ),
        Component(
            kind="reward",
            name="bump",
            target="suffuse_ddpo.rewards:Bump",
            summary="a Gaussian bump around a point, flat elsewhere",
            gives={"differentiable"},
        ),
        Component(
            kind="reward",
            name="compressibility",
            target="suffuse_ddpo.rewards:Compressibility",
            summary="images that compress well, or badly",
            shape=(1, 8, 8),
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the paper says, executable."""
    return [
        Component(
            name="gradient",
            target="suffuse_ddpo.claims:Gradient",
            summary="the score-function estimator is the gradient of the expected reward",
            extras=("claims",),
        ),
        Component(
            name="first-update",
            target="suffuse_ddpo.claims:FirstUpdate",
            summary="on fresh trajectories both estimators are one",
            extras=("claims",),
        ),
        Component(
            name="beats-score-function",
            target="suffuse_ddpo.claims:BeatsScoreFunction",
            summary="DDPO-IS reaches a higher reward than DDPO-SF at equal queries",
            extras=("claims",),
        ),
        Component(
            name="beats-regression",
            target="suffuse_ddpo.claims:BeatsRegression",
            summary="DDPO-IS reaches a higher reward than reward-weighted regression at equal queries",
            extras=("claims",),
        ),
    ]
