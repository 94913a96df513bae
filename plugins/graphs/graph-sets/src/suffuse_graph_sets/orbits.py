"""Orbit counts of graphlets with up to four nodes, exactly."""

from __future__ import annotations

import numpy as np

__all__ = ["orbit_counts"]


def orbit_counts(adjacency: np.ndarray) -> np.ndarray:
    """How often each node stands at each of the 15 orbits of induced connected subgraphs of 2 to 4 nodes.

    int64 ``(n, 15)`` of a symmetric 0/1 matrix with a zero diagonal, in the order of Przulj, Biological network
    comparison using graphlet degree distribution, 2007, doi:10.1093/bioinformatics/btl301: edge 0; path of three, end
    1 and middle 2; triangle 3; path of four, end 4 and inside 5; star, leaf 6 and centre 7; cycle 8; triangle with a
    tail, its end 9, the far corners 10 and the near corner 11; cycle with a chord, off it 12 and on it 13; clique 14.

    Subgraphs that need not be induced are counted in closed form (``n*``), then those that denser graphlets contain
    are taken off, from the clique down: graphlet h at orbit o contains graphlet g at orbit p in a fixed number of ways.
    """
    a = np.ascontiguousarray(adjacency, dtype=np.float64)  # exact: every product stays far below 2^53
    d = a.sum(1)
    common = a @ a
    np.fill_diagonal(common, 0.0)
    wedges = a * common  # common neighbours of the ends of each edge
    triangles = wedges.sum(1) / 2

    cliques = np.array([_triangles(a[np.ix_(r, r)]) for r in (np.flatnonzero(row) for row in a)])
    n12 = (a * (a @ (a * (common - 1)))).sum(1) / 2
    n13 = (a * common * (common - 1)).sum(1) / 2
    n8 = (common * (common - 1)).sum(1) / 2
    n9 = a @ triangles - wedges.sum(1)
    n10 = wedges @ (d - 2)
    n11 = triangles * (d - 2)
    n6 = a @ ((d - 1) * (d - 2)) / 2
    n7 = d * (d - 1) * (d - 2) / 6
    n4 = common @ (d - 1) - 2 * triangles
    n5 = (d - 1) * (a @ (d - 1)) - wedges.sum(1)

    o14 = cliques
    o13, o12 = n13 - 3 * o14, n12 - 3 * o14
    o11, o10, o9 = n11 - 2 * o13 - 3 * o14, n10 - 2 * o12 - 2 * o13 - 6 * o14, n9 - 2 * o12 - 3 * o14
    o8 = n8 - o12 - o13 - 3 * o14
    o7, o6 = n7 - o11 - o13 - o14, n6 - o9 - o10 - 2 * o12 - o13 - 3 * o14
    o5 = n5 - 2 * o8 - o10 - 2 * o11 - 2 * o12 - 4 * o13 - 6 * o14
    o4 = n4 - 2 * o8 - 2 * o9 - o10 - 4 * o12 - 2 * o13 - 6 * o14
    o3, o2, o1 = triangles, d * (d - 1) / 2 - triangles, a @ (d - 1) - 2 * triangles
    return np.rint(np.stack([d, o1, o2, o3, o4, o5, o6, o7, o8, o9, o10, o11, o12, o13, o14], axis=1)).astype(np.int64)


def _triangles(a: np.ndarray) -> float:
    """Triangles of a graph: with a node's neighbours as its nodes, the cliques of four around that node."""
    return float(((a @ a) * a).sum() / 6)
