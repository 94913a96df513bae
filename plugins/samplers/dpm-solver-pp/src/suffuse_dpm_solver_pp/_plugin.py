"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Paper, Plugin

plugin = Plugin(
    paper=Paper(
        title="DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
        authors="Cheng Lu, Yuhao Zhou, Fan Bao, Jianfei Chen, Chongxuan Li, Jun Zhu",
        year=2022,
        kind="method",
        arxiv="2211.01095",
    )
)


@hookimpl
def suffuse_samplers() -> list[Component]:
    """The solvers."""
    needs = ["gaussian", "mean"]
    return [
        Component(
            name="multistep",
            target="suffuse_dpm_solver_pp.multistep:Multistep",
            summary="DPM-Solver++ (2M, 3M): one evaluation a step, extrapolating earlier ones",
            needs=needs,
            gives=["inversion"],
        ),
        Component(
            name="singlestep",
            target="suffuse_dpm_solver_pp.singlestep:Singlestep",
            summary="DPM-Solver++ (2S, 3S): a Runge-Kutta method without history",
            needs=needs,
            gives=["inversion"],
        ),
        Component(
            name="sde",
            target="suffuse_dpm_solver_pp.sde:Sde",
            summary="SDE-DPM-Solver++ (1, 2M): the reverse SDE",
            needs=needs,
            gives=["stochastic"],
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """The paper's assertions."""
    return [
        Component(
            name="order",
            target="suffuse_dpm_solver_pp.claims:Order",
            summary="2M, 3M, 2S and 3S converge at the orders 2, 3, 2 and 3",
            extras=["claims"],
        ),
        Component(
            name="few-steps",
            target="suffuse_dpm_solver_pp.claims:FewSteps",
            summary="At 10 to 20 evaluations 2M is closer to the ODE's solution than DDIM",
            extras=["claims"],
        ),
        Component(
            name="guided",
            target="suffuse_dpm_solver_pp.claims:Guided",
            summary="At large guidance the data prediction keeps order 2 stable where the noise prediction fails",
            extras=["claims"],
        ),
    ]
