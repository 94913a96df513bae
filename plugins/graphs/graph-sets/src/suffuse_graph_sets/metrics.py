"""How far a set of graphs is from another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import attrs
import numpy as np

from suffuse.contracts.part import setting
from suffuse.contracts.task import Example, Metric
from suffuse.errors import InvalidInput
from suffuse_graph_sets.convert import adjacencies
from suffuse_graph_sets.mmd import emd_kernel, gaussian_kernel, mmd, stack, tv_kernel
from suffuse_graph_sets.orbits import orbit_counts

__all__ = ["Average", "Clustering", "Degree", "Orbit"]

_BINS = 100


def _plain(example: Example) -> list[np.ndarray]:
    """0/1 adjacencies."""
    found = [(a != 0).astype(np.int64) for a in adjacencies(example.x)]
    if not found:
        raise InvalidInput("expected at least one graph, got none")
    return found


def _descriptors(
    samples: Example, reference: Example, describe: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    sides = [[describe(a) for a in _plain(e)] for e in (samples, reference)]
    width = max(len(h) for side in sides for h in side)
    return stack(sides[0], width), stack(sides[1], width)


@attrs.frozen(kw_only=True)
class Degree(Metric):
    """Squared MMD of degree histograms; lower is better.

    ``emd`` (GraphRNN and GDSS): the earth mover's distance, sigma 1; ``tv`` (GRAN): total variation, sigma 1.
    """

    kernel: Literal["emd", "tv"] = setting("emd", "the distance inside the Gaussian kernel", choices=("emd", "tv"))

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``degree``. Raises ``InvalidInput`` for states that are no graphs of whole edges."""
        pair = _descriptors(samples, reference, lambda a: np.bincount(a.sum(1)))
        return {"degree": mmd(*pair, emd_kernel(1.0) if self.kernel == "emd" else tv_kernel(1.0))}


@attrs.frozen(kw_only=True)
class Clustering(Metric):
    """Squared MMD of histograms of local clustering coefficients, 100 bins on [0, 1]; lower is better.

    ``emd``: the earth mover's distance on [0, 1], sigma 0.1; ``tv``: total variation, sigma 0.1.
    """

    kernel: Literal["emd", "tv"] = setting("emd", "the distance inside the Gaussian kernel", choices=("emd", "tv"))

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``clustering``."""
        pair = _descriptors(samples, reference, _clustering)
        return {"clustering": mmd(*pair, emd_kernel(0.1, _BINS) if self.kernel == "emd" else tv_kernel(0.1))}


@attrs.frozen(kw_only=True)
class Orbit(Metric):
    """Squared MMD of each graph's mean orbit counts (graphlets of up to 4 nodes), sigma 30; lower is better.

    ``gaussian`` (GraphRNN and GDSS): the Euclidean distance; ``tv`` (GRAN): half the L1 distance.
    """

    kernel: Literal["gaussian", "tv"] = setting(
        "gaussian", "the distance inside the Gaussian kernel", choices=("gaussian", "tv")
    )

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``orbit``."""
        x, y = (np.stack([orbit_counts(a).mean(0) for a in _plain(e)]) for e in (samples, reference))
        return {"orbit": mmd(x, y, gaussian_kernel(30.0) if self.kernel == "gaussian" else tv_kernel(30.0))}


@attrs.frozen(kw_only=True)
class Average(Metric):
    """The three discrepancies and their mean, as the field's tables have them; lower is better."""

    degree: Degree = setting(factory=Degree, doc="of degrees")
    clustering: Clustering = setting(factory=Clustering, doc="of clustering coefficients")
    orbit: Orbit = setting(factory=Orbit, doc="of orbit counts")

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``degree``, ``clustering``, ``orbit`` and ``average``."""
        parts = (self.degree, self.clustering, self.orbit)
        found = {k: v for part in parts for k, v in part.measure(samples, reference).items()}
        return {**found, "average": sum(found.values()) / len(found)}


def _clustering(a: np.ndarray) -> np.ndarray:
    """A histogram of ``2 t/(d (d - 1))``, 0 for nodes of fewer than two neighbours."""
    degree = a.sum(1)
    ends = ((a @ a) * a).sum(1)  # twice the triangles
    coefficients = ends / np.maximum(degree * (degree - 1), 1)
    return np.histogram(coefficients, bins=_BINS, range=(0.0, 1.0))[0]
