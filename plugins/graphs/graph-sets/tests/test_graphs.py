import networkx as nx
import pytest
import torch
from suffuse_graph_sets.codec import Quantise
from suffuse_graph_sets.community import CommunitySmall
from suffuse_graph_sets.convert import from_networkx, to_networkx
from suffuse_graph_sets.ego import EgoSmall
from suffuse_graph_sets.gcn import Gcn, normalised
from suffuse_graph_sets.grid import Grid
from suffuse_graph_sets.law import GraphNormal
from suffuse_graph_sets.sets import everything, size_law
from suffuse_graph_sets.space import Graphs, graph_noise

from suffuse.errors import InvalidInput, SpecError
from suffuse.rng import Rng
from suffuse.testing.statistics import covariance_within, mean_within

SPACE = Graphs(nodes=4, features=2)


def like(n, sizes=None):
    state = dict(SPACE.like(n, dtype=torch.float64))
    if sizes is not None:
        state["mask"] = (torch.arange(4) < torch.tensor(sizes)[:, None]).double()
    return state


def test_networkx_and_back():
    graphs = [nx.cycle_graph(5), nx.star_graph(3), nx.gnp_random_graph(7, 0.5, seed=0)]
    again = to_networkx(from_networkx(graphs, nodes=9, features=4))
    assert [sorted(g.edges) for g in again] == [sorted(g.edges) for g in graphs]
    assert [len(g) for g in again] == [5, 4, 7]


def test_bond_orders_survive_as_weights():
    graph = nx.path_graph(3)
    graph[0][1]["weight"] = 3
    (again,) = to_networkx(from_networkx([graph], nodes=3, features=3))
    assert again[0][1] == {"weight": 3}
    assert again[1][2] == {}


def test_features_are_degrees_and_the_last_place_is_shared():
    state = from_networkx([nx.star_graph(3)], nodes=5, features=3)
    assert state["x"][0].argmax(1)[:4].tolist() == [2, 1, 1, 1]
    assert state["x"][0, 4].sum() == 0


@pytest.mark.parametrize("graphs", [[], [nx.empty_graph(6)], [nx.empty_graph(0)], [nx.DiGraph([(0, 1)])]])
def test_what_is_no_batch_of_graphs_is_refused(graphs):
    with pytest.raises(InvalidInput, match="expected"):
        from_networkx(graphs, nodes=5, features=2)


def test_noise_has_unit_variance_on_each_pair_once():
    z = graph_noise(like(20_000), Rng.of(0, 20_000))
    rows, columns = torch.tril_indices(4, 4, -1)
    free = torch.cat([z["x"].flatten(1), z["adj"][:, rows, columns]], dim=1)
    assert mean_within(free, torch.zeros(14, dtype=torch.float64))
    assert covariance_within(free, torch.eye(14, dtype=torch.float64))
    assert torch.equal(z["adj"], z["adj"].mT)
    assert z["adj"].diagonal(dim1=1, dim2=2).abs().max() == 0


def test_noise_does_not_depend_on_padding():
    wide = Graphs(nodes=9, features=2).like(3)
    near, far = graph_noise(SPACE.like(3), Rng.of(5, 3)), graph_noise(wide, Rng.of(5, 3))
    assert torch.equal(near["x"], far["x"][:, :4])
    assert torch.equal(near["adj"], far["adj"][:, :4, :4])


def test_project_restores_symmetry_and_mask():
    g = torch.Generator().manual_seed(0)
    state = like(2, [4, 2])
    state |= {"x": torch.randn(2, 4, 2, generator=g).double(), "adj": torch.randn(2, 4, 4, generator=g).double()}
    right = SPACE.project(state)
    SPACE.check(right)
    assert torch.equal(SPACE.project(right)["adj"], right["adj"])
    assert torch.allclose(right["adj"][0, 0, 1], (state["adj"][0, 0, 1] + state["adj"][0, 1, 0]) / 2)
    with pytest.raises(InvalidInput, match="x must be zero at absent nodes"):
        SPACE.check(state)
    with pytest.raises(InvalidInput, match=r"adj must be .* symmetric"):
        SPACE.check({**right, "adj": state["adj"]})
    with pytest.raises(InvalidInput, match="zeros and ones"):
        SPACE.check({**right, "mask": right["mask"] / 2})


def test_the_density_is_that_of_independent_normals_on_what_is_there():
    mean = graph_noise(like(3, [4, 3, 1]), Rng.of(0, 3))
    law = GraphNormal(mean, {"x": torch.tensor(0.5), "adj": torch.tensor([0.3, 2.0, 1.0]).double()})
    x = law.sample(Rng.of(1, 3))
    for i, n in enumerate((4, 3, 1)):
        rows, columns = torch.tril_indices(n, n, -1)
        nodes = torch.distributions.Normal(mean["x"][i, :n], 0.5).log_prob(x["x"][i, :n]).sum()
        edges = torch.distributions.Normal(mean["adj"][i, rows, columns], law.std["adj"][i])
        expected = nodes + edges.log_prob(x["adj"][i, rows, columns]).sum()
        assert torch.allclose(law.log_prob(x)[i], expected, atol=1e-10)


def test_quantise_rounds_and_removes_isolated_nodes():
    state = like(2)
    state["adj"][0, 0, 1] = state["adj"][0, 1, 0] = 0.5
    state["adj"][0, 1, 2] = state["adj"][0, 2, 1] = 0.49
    state["adj"][1, 2, 3] = state["adj"][1, 3, 2] = -0.7
    found = Quantise().decode(state)
    assert found["mask"].tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]  # no edge at all: the first node stays
    assert found["adj"][0, 0, 1] == 1
    assert found["adj"].sum() == 2
    state["adj"] = state["adj"] * 7  # 3.5 and 3.43
    assert Quantise(orders=3).decode(state)["adj"].max() == 3


def test_community_small_has_one_pair_of_communities_a_size():
    graphs = CommunitySmall(split="all").graphs()
    assert len(graphs) == 100
    assert {len(g) for g in graphs} <= {12, 14, 16, 18, 20}
    assert all(nx.is_connected(g) for g in graphs)
    for n in (12, 20):
        inside = {tuple(sorted(e for e in g.edges if max(e) < n // 2)) for g in graphs if len(g) == n}
        assert inside == {tuple(sorted(nx.gnp_random_graph(n // 2, 0.7, seed=0).edges))}
    fresh = CommunitySmall(split="all", blocks="independent").graphs()
    assert len({tuple(sorted(e for e in g.edges if max(e) < 6)) for g in fresh if len(g) == 12}) > 5


def test_the_expected_number_of_bridges():
    bridges = [sum(u < len(g) / 2 <= v for u, v in g.edges) for g in CommunitySmall(split="all", count=4000).graphs()]
    sizes = [len(g) // 2 for g in CommunitySmall(split="all", count=4000).graphs()]
    p = [0.1 / k for k in sizes]
    expected = sum(k * k * q + (1 - q) ** (k * k) for k, q in zip(sizes, p, strict=True)) / 4000
    error = sum(k * k * q + 0.25 for k, q in zip(sizes, p, strict=True)) ** 0.5 / 4000
    assert abs(sum(bridges) / 4000 - expected) < 5 * error


def test_ego_small_and_grid_are_what_they_say():
    ego = EgoSmall(split="all").graphs()
    assert len(ego) == 200
    assert all(4 <= len(g) <= 18 and max(d for _, d in g.degree) == len(g) - 1 for g in ego)
    grid = Grid(split="all").graphs()
    assert {max(d for _, d in g.degree) for g in grid} == {4}
    assert all(100 <= len(g) <= 361 and nx.is_bipartite(g) for g in grid)


def test_an_edge_list_replaces_the_stand_in(tmp_path):
    file = tmp_path / "edges"
    nx.write_edgelist(nx.barbell_graph(6, 0), file, data=False)
    data = EgoSmall(split="all", edges=str(file))
    assert sorted(map(len, data.graphs())) == [6] * 10 + [7] * 2
    with pytest.raises(InvalidInput, match="edge list"):
        len(EgoSmall(edges=str(tmp_path / "none")))


def test_splits_are_disjoint_and_sizes_are_told():
    parts = [CommunitySmall(split=s) for s in ("test", "train", "all")]
    assert [len(p) for p in parts] == [20, 80, 100]
    assert parts[2].graphs() == parts[0].graphs() + parts[1].graphs()
    law = size_law(parts[1])
    assert sum(law) == pytest.approx(1.0)
    assert [i + 1 for i, p in enumerate(law) if p] == [12, 14, 16, 18, 20]
    example = everything(parts[0])
    assert torch.equal(example.cond["nodes"], example.x["mask"].sum(1).long())


def test_a_grid_that_does_not_fit_is_refused():
    with pytest.raises(SpecError, match="nodes >= high"):
        Grid(nodes=50)


def test_convolution_is_equivariant_and_normalised():
    state = from_networkx([nx.gnp_random_graph(6, 0.5, seed=1)], nodes=6, features=4, dtype=torch.float64)
    a = normalised(state["adj"])
    root = (state["adj"][0].sum(1) + 1).sqrt()
    assert torch.allclose(a[0] @ root, root, atol=1e-12)  # the eigenvector of eigenvalue 1
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    gcn = Gcn(4, 3).double()
    moved = gcn(state["x"][:, order], normalised(state["adj"][:, order][:, :, order]))
    assert torch.allclose(moved, gcn(state["x"], a)[:, order], atol=1e-12)
