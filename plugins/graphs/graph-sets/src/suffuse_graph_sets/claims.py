"""That the statistics are what they are called, and see what they are for."""

from __future__ import annotations

from itertools import combinations
from typing import ClassVar, Literal

import attrs
import networkx as nx
import numpy as np
from scipy.optimize import linprog

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import setting
from suffuse.contracts.task import Claim, Example, Measure
from suffuse_graph_sets.community import CommunitySmall
from suffuse_graph_sets.convert import from_networkx
from suffuse_graph_sets.metrics import Average
from suffuse_graph_sets.mmd import emd_kernel
from suffuse_graph_sets.orbits import orbit_counts

__all__ = ["Orbits", "TellsApart", "Transport", "brute_force_orbits"]

# Of each connected graphlet of four nodes: its sorted degrees, and the orbit of a node by its degree.
_FOUR = {
    (1, 1, 2, 2): {1: 4, 2: 5},
    (1, 1, 1, 3): {1: 6, 3: 7},
    (2, 2, 2, 2): {2: 8},
    (1, 2, 2, 3): {1: 9, 2: 10, 3: 11},
    (2, 2, 3, 3): {2: 12, 3: 13},
    (3, 3, 3, 3): {3: 14},
}
_UP_TO_THREE = {(1, 1): {1: 0}, (1, 1, 2): {1: 1, 2: 2}, (2, 2, 2): {2: 3}}


def brute_force_orbits(adjacency: np.ndarray) -> np.ndarray:
    """Every induced subgraph of 2 to 4 nodes, looked up by its degrees, which tell connected ones apart."""
    found = np.zeros((len(adjacency), 15), dtype=np.int64)
    known = {**_UP_TO_THREE, **_FOUR}
    for size in (2, 3, 4):
        for chosen in map(list, combinations(range(len(adjacency)), size)):
            degrees = adjacency[np.ix_(chosen, chosen)].sum(1)
            orbit = known.get(tuple(sorted(degrees.tolist())))
            for node, degree in zip(chosen, degrees.tolist(), strict=True) if orbit else ():
                found[node, orbit[degree]] += 1
    return found


@attrs.frozen(kw_only=True)
class Orbits(Claim):
    """The closed forms, against enumeration."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "orbit counts of random graphs of 14 nodes and five densities, and of the complete graph, equal those of all "
        "induced subgraphs of 2 to 4 nodes (Przulj 2007, doi:10.1093/bioinformatics/btl301)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Half less the largest difference. Sabotage forgets that a clique contains cycles with a chord."""
        graphs = [nx.gnp_random_graph(14, p, seed=seed) for p in (0.1, 0.3, 0.5, 0.7, 0.9)] + [nx.complete_graph(8)]
        worst = 0
        for graph in graphs:
            a = nx.to_numpy_array(graph, dtype=np.int64)
            counts = orbit_counts(a)
            if sabotage:
                counts[:, 12] += 3 * counts[:, 14]
            worst = max(worst, int(np.abs(counts - brute_force_orbits(a)).max()))
        return Measure(effect=0.5 - worst, numbers={"difference": worst})


@attrs.frozen(kw_only=True)
class Transport(Claim):
    """Cumulative sums, against the linear programme."""

    tier: ClassVar[Literal["exact"]] = "exact"
    statement: ClassVar[str] = (
        "on histograms the kernel's distance is the least cost of moving one into the other, cost |i - j| "
        "(You et al. 2018, arXiv:1802.08773, section 4.3)"
    )

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """Largest difference over 20 pairs of 7 bins; the tolerance is 1e-7. Sabotage takes total variation instead."""
        g = np.random.default_rng(seed)
        bins, worst = 7, 0.0
        cost = np.abs(np.subtract.outer(np.arange(bins), np.arange(bins))).ravel()
        marginals = np.concatenate([np.kron(np.eye(bins), np.ones(bins)), np.kron(np.ones(bins), np.eye(bins))])
        for _ in range(20):
            p, q = g.dirichlet(np.ones(bins) / 2, 2)
            best = linprog(cost, A_eq=marginals, b_eq=np.concatenate([p, q]), method="highs").fun
            distance = np.sqrt(-2 * np.log(emd_kernel(1.0)(p[None], q[None])))[0, 0]
            worst = max(worst, abs((np.abs(p - q).sum() / 2 if sabotage else distance) - best))
        return Measure(effect=1e-7 - worst, numbers={"difference": worst})


@attrs.frozen(kw_only=True)
class TellsApart(Claim):
    """The statistic's power on the sizes that the field uses."""

    tier: ClassVar[Literal["claim"]] = "claim"
    statement: ClassVar[str] = (
        "the average MMD of 20 random graphs of the same sizes and numbers of edges to 20 of community-small is at "
        "least three times that of 20 other graphs of community-small (the use of You et al. 2018, arXiv:1802.08773)"
    )

    count: int = setting(20, "graphs on each side, as in the benchmark", ge=2)

    def measure(self, seed: int, *, sabotage: bool = False) -> Measure:
        """The first less 3 times the second. Sabotage compares communities with communities twice."""
        sides = [CommunitySmall(split="all", count=max(5, self.count), seed=3 * seed + i).graphs() for i in range(3)]
        sides = [s[: self.count] for s in sides]
        other = [nx.gnm_random_graph(len(g), g.number_of_edges(), seed=seed) for g in sides[2]]
        reference, same = _example(sides[0]), _example(sides[1])
        far = Average().measure(_example(sides[2]) if sabotage else _example(other), reference)["average"]
        near = Average().measure(same, reference)["average"]
        return Measure(effect=far - 3 * near, numbers={"random": far, "communities": near})


def _example(graphs: tuple[nx.Graph, ...] | list[nx.Graph]) -> Example:
    return Example(x=from_networkx(graphs, nodes=20, features=10), cond=Condition())
