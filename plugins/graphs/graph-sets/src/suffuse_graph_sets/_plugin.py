"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Plugin

plugin = Plugin(paper=None)

_SMALL = {"use": "graph-sets/community-small", "with": {"split": "test"}}


@hookimpl
def suffuse_datasets() -> list[Component]:
    """The generated benchmark sets."""
    return [
        Component(
            name="community-small",
            target="suffuse_graph_sets.community:CommunitySmall",
            summary="100 graphs of 12 to 20 nodes: two communities and bridges",
        ),
        Component(
            name="ego-small",
            target="suffuse_graph_sets.ego:EgoSmall",
            summary="200 ego graphs of 4 to 18 nodes, cut from a stand-in for Citeseer or from a graph of your own",
        ),
        Component(
            name="grid",
            target="suffuse_graph_sets.grid:Grid",
            summary="100 lattices of 100 to 361 nodes",
        ),
    ]


@hookimpl
def suffuse_metrics() -> list[Component]:
    """How far graphs are from a reference."""
    return [
        Component(
            name=name,
            target=f"suffuse_graph_sets.metrics:{name.title()}",
            summary=f"squared MMD of {what}; lower is better",
            beside={"dataset": _SMALL},
        )
        for name, what in (
            ("degree", "degree histograms"),
            ("clustering", "histograms of clustering coefficients"),
            ("orbit", "mean orbit counts of graphlets of up to 4 nodes"),
            ("average", "degrees, clustering and orbits, and their mean"),
        )
    ]


@hookimpl
def suffuse_tasks() -> list[Component]:
    """What systems are judged by."""
    return [
        Component(
            name="quality",
            target="suffuse_graph_sets.quality:Quality",
            summary="samples graphs and compares them with a test set",
            needs={"graphs"},
        ),
    ]


@hookimpl
def suffuse_codecs() -> list[Component]:
    """From states to graphs."""
    return [
        Component(
            name="quantise",
            target="suffuse_graph_sets.codec:Quantise",
            summary="edges rounded to 0, 1, ..., isolated nodes removed",
            needs={"graphs"},
            beside={"dataset": _SMALL},
        ),
    ]


@hookimpl
def suffuse_parts() -> list[Component]:
    """The space."""
    return [
        Component(
            kind="space",
            name="graphs",
            target="suffuse_graph_sets.space:Graphs",
            summary="undirected graphs of up to N nodes: x, adj and mask",
            gives={"graphs"},
            example={"nodes": 5, "features": 3},
        ),
    ]


@hookimpl
def suffuse_claims() -> list[Component]:
    """What the statistics are."""
    return [
        Component(
            name="orbits",
            target="suffuse_graph_sets.claims:Orbits",
            summary="orbit counts equal those of brute force",
        ),
        Component(
            name="transport",
            target="suffuse_graph_sets.claims:Transport",
            summary="the earth mover's distance equals the optimum of the transport problem",
        ),
        Component(
            name="tells-apart",
            target="suffuse_graph_sets.claims:TellsApart",
            summary="the average MMD tells random graphs of the same size and density from communities",
        ),
    ]
