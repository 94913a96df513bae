"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Plugin

plugin = Plugin(paper=None)


@hookimpl
def suffuse_parts() -> list[Component]:
    """The targets."""
    return [
        Component(
            kind="target",
            name="gaussian",
            target="suffuse_energies.gaussian:Gaussian",
            summary="a Gaussian: the smallest target",
        ),
        Component(
            kind="target",
            name="lattice",
            target="suffuse_energies.lattice:Lattice",
            summary="equal Gaussians on a lattice: the mixture of 25, and of 9",
        ),
        Component(
            kind="target",
            name="funnel",
            target="suffuse_energies.funnel:Funnel",
            summary="Neal's funnel: one variable is the log-variance of the others",
        ),
        Component(
            kind="target",
            name="many-well",
            target="suffuse_energies.many_well:ManyWell",
            summary="independent double wells: 2^16 modes in 32 dimensions",
            example={"dim": 8},
        ),
    ]


@hookimpl
def suffuse_metrics() -> list[Component]:
    """How good samples are."""
    return [
        Component(
            name="wasserstein",
            target="suffuse_energies.wasserstein:Wasserstein",
            summary="2-Wasserstein distance of two samples of equal size; lower is better",
        )
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What is known of the targets and of the estimates."""
    return [
        Component(
            name="log-z",
            target="suffuse_energies.claims:LogZ",
            summary="every target's log Z is what importance sampling estimates",
        ),
        Component(
            name="tightening",
            target="suffuse_energies.claims:Tightening",
            summary="the importance-weighted bound rises with the number of weights to log Z",
        ),
        Component(
            name="transport",
            target="suffuse_energies.claims:Transport",
            summary="the Wasserstein distance of a sample and its translation is the translation's length",
        ),
    ]
