"""Neighbourhoods cut from one large graph."""

from __future__ import annotations

import random
from functools import cache

import attrs
import networkx as nx
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Example
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse_graph_sets.sets import Split, part_of, rows_of

__all__ = ["EgoSmall", "citation_like"]


@attrs.frozen(kw_only=True)
class EgoSmall(Dataset):
    """200 ego graphs (a node, its neighbours and their edges) of 4 to 18 nodes.

    The benchmark (Jo et al. 2022, arXiv:2202.02514, appendix C, and its code) cuts them from the largest component of
    Citeseer: nodes in order, the first 200 that fit. Citeseer does not come with this package. Without ``edges`` they
    are cut, by the same rule, from a *generated stand-in*, ``citation_like``: figures on it are not comparable with
    the paper's. With ``edges``, the path of an edge list (two names a line, nodes in order of appearance), they are
    cut from that graph.
    """

    split: Split = setting("train", "which graphs", choices=("train", "test", "all"))
    edges: str = setting("", "an edge list to cut from; empty for the generated stand-in")
    count: int = setting(200, "graphs in all, at most", ge=5)
    nodes: int = setting(18, "N of the states, and the largest ego graph", ge=4)
    features: int = setting(17, "F: one-hot degrees", ge=1)
    seed: int = setting(0, "of the stand-in", ge=0)

    def __len__(self) -> int:
        return len(self.graphs())

    def graphs(self) -> tuple[nx.Graph, ...]:
        """As networkx graphs. ``InvalidInput`` where ``edges`` is no edge list or has too few ego graphs."""
        return part_of(_cut(self.edges, self.count, self.nodes, self.seed), self.split)

    def rows(self, index: Tensor, rng: Rng) -> Example:
        """These graphs and their numbers of nodes."""
        return rows_of(self, index)


def citation_like(seed: int, *, nodes: int = 2120, second: float = 0.735, closing: float = 0.4) -> nx.Graph:
    """A connected scale-free graph with triangles, of the size, density and clustering of Citeseer's largest component.

    Preferential attachment with triad formation (Holme and Kim, Growing scale-free networks with tunable clustering,
    2002, arXiv:cond-mat/0110452): each new node links to one in proportion to its degree, and with probability
    ``second`` to another, which is a neighbour of the first with probability ``closing``. Nodes are in random order.
    """
    g = random.Random(seed)
    graph = nx.complete_graph(3)
    ends = [0, 1, 1, 2, 2, 0]  # each node once for each of its edges
    for new in range(3, nodes):
        first = g.choice(ends)
        links = {first}
        if g.random() < second:
            near = sorted(graph[first])
            links.add(g.choice(near) if g.random() < closing else g.choice(ends))
        graph.add_edges_from((new, old) for old in links)
        ends += [end for old in links for end in (new, old)]
    order = list(graph)
    g.shuffle(order)
    mixed = nx.empty_graph(nodes)
    mixed.add_edges_from((order[u], order[v]) for u, v in graph.edges)
    return mixed


@cache
def _cut(edges: str, count: int, most: int, seed: int) -> tuple[nx.Graph, ...]:
    whole = _read(edges) if edges else citation_like(seed)
    component = max(nx.connected_components(whole), key=len)
    found: list[nx.Graph] = []
    for node in (v for v in whole if v in component):
        if len(found) == count:
            break
        ego = nx.ego_graph(whole, node, radius=1)
        if 4 <= ego.number_of_nodes() <= most:
            found.append(nx.convert_node_labels_to_integers(ego))
    if len(found) < 5:
        raise InvalidInput(f"expected at least 5 ego graphs of 4 to {most} nodes, found {len(found)} in {edges!r}")
    return tuple(found)


def _read(path: str) -> nx.Graph:
    try:
        graph = nx.read_edgelist(path, data=False)
    except (OSError, TypeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"expected an edge list, two names a line, at {path!r}: {error}") from error
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    return graph
