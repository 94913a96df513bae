import networkx as nx
import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from suffuse_graph_sets.claims import brute_force_orbits
from suffuse_graph_sets.convert import from_networkx
from suffuse_graph_sets.metrics import Average, Clustering, Degree, Orbit
from suffuse_graph_sets.mmd import emd_kernel, gaussian_kernel, mmd, tv_kernel
from suffuse_graph_sets.orbits import orbit_counts

from suffuse.contracts.condition import Condition
from suffuse.contracts.task import Example
from suffuse.errors import InvalidInput


def example(*graphs):
    return Example(x=from_networkx(graphs, nodes=12, features=4), cond=Condition())


@pytest.mark.parametrize("p", [0.0, 0.15, 0.4, 0.7, 1.0])
def test_orbits_are_those_of_brute_force(p):
    a = nx.to_numpy_array(nx.gnp_random_graph(11, p, seed=int(100 * p)), dtype=np.int64)
    assert np.array_equal(orbit_counts(a), brute_force_orbits(a))


def test_orbits_of_graphs_known_by_hand():
    star = orbit_counts(nx.to_numpy_array(nx.star_graph(3), dtype=np.int64))  # node 0 is the centre
    assert star[0, 7] == 1
    assert star[1:, 6].tolist() == [1, 1, 1]
    cycle = orbit_counts(nx.to_numpy_array(nx.cycle_graph(4), dtype=np.int64))
    assert cycle[:, 8].tolist() == [1, 1, 1, 1]
    assert cycle[:, 4:8].sum() == 0
    assert orbit_counts(np.zeros((1, 1), dtype=np.int64)).tolist() == [[0] * 15]


def test_the_earth_movers_distance_is_the_wasserstein_distance():
    p, q = np.random.default_rng(0).dirichlet(np.ones(9), 2)
    distance = wasserstein_distance(np.arange(9) / 3, np.arange(9) / 3, p, q)
    assert emd_kernel(0.7, 3.0)(p[None], q[None])[0, 0] == pytest.approx(np.exp(-(distance**2) / (2 * 0.49)), abs=1e-12)


def test_kernels_of_two_bins():
    one, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert emd_kernel(1.0)(one, other)[0, 0] == pytest.approx(np.exp(-0.5))
    assert tv_kernel(0.5)(one, other)[0, 0] == pytest.approx(np.exp(-2.0))
    assert gaussian_kernel(1.0)(one, other)[0, 0] == pytest.approx(np.exp(-1.0))


def test_mmd_of_sets_counted_by_hand():
    x, y = np.array([[0.0], [1.0]]), np.array([[2.0]])
    k = lambda d: np.exp(-(d**2) / 2)  # noqa: E731
    expected = (2 + 2 * k(1)) / 4 + 1 - 2 * (k(2) + k(1)) / 2
    assert mmd(x, y, gaussian_kernel(1.0)) == pytest.approx(expected, abs=1e-15)
    assert mmd(x, x, gaussian_kernel(1.0)) == pytest.approx(0.0, abs=1e-15)


def test_degree_mmd_of_two_regular_graphs():
    found = Degree().measure(example(nx.cycle_graph(5)), example(nx.complete_graph(5)))["degree"]
    assert found == pytest.approx(2 - 2 * np.exp(-2.0))  # all degrees 2 and all 4: distance 2


def test_clustering_mmd_of_a_cycle_and_a_clique():
    found = Clustering().measure(example(nx.cycle_graph(5)), example(nx.complete_graph(5)))["clustering"]
    assert found == pytest.approx(2 - 2 * np.exp(-(0.99**2) / 0.02))  # the first and the last of 100 bins
    tv = Clustering(kernel="tv").measure(example(nx.cycle_graph(5)), example(nx.complete_graph(5)))["clustering"]
    assert tv == pytest.approx(2 - 2 * np.exp(-1 / 0.02))


def test_clustering_is_that_of_networkx():
    graph = nx.gnp_random_graph(12, 0.5, seed=3)
    hist = np.histogram(list(nx.clustering(graph).values()), bins=100, range=(0.0, 1.0))[0] / 12
    found = Clustering().measure(example(graph), example(nx.cycle_graph(6)))["clustering"]
    zero = np.eye(100)[:1]
    assert found == pytest.approx(mmd(hist[None], zero, emd_kernel(0.1, 100)), abs=1e-12)


def test_orbit_mmd_from_mean_counts():
    one, other = nx.complete_graph(4), nx.cycle_graph(4)
    clique, cycle = [3, 0, 0, 3, *[0] * 10, 1], [2, 2, 1, 0, *[0] * 4, 1, *[0] * 6]
    gap = sum((a - b) ** 2 for a, b in zip(clique, cycle, strict=True))
    expected = 2 - 2 * np.exp(-gap / 1800)
    assert Orbit().measure(example(one), example(other))["orbit"] == pytest.approx(expected)


def test_the_average_has_the_three_and_is_zero_on_equal_sets():
    graphs = example(nx.cycle_graph(6), nx.complete_graph(4))
    assert Average().measure(graphs, graphs) == pytest.approx(
        {"degree": 0, "clustering": 0, "orbit": 0, "average": 0}, abs=1e-12
    )


def test_absent_nodes_do_not_count():
    small, wide = (from_networkx([nx.cycle_graph(5)], nodes=n, features=4) for n in (5, 12))
    found = Average().measure(Example(x=small, cond=Condition()), Example(x=wide, cond=Condition()))
    assert max(found.values()) < 1e-12


def test_states_that_are_no_graphs_are_refused():
    noisy = from_networkx([nx.cycle_graph(5)], nodes=5, features=3)
    noisy["adj"] = noisy["adj"] + 0.3
    with pytest.raises(InvalidInput, match="edges of 0, 1"):
        Degree().measure(Example(x=noisy, cond=Condition()), Example(x=noisy, cond=Condition()))
    with pytest.raises(InvalidInput, match="x, adj and mask"):
        Degree().measure(Example(x=torch.zeros(2, 3), cond=Condition()), Example(x=noisy, cond=Condition()))
