"""What a trained sampler is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

import attrs
from suffuse_energies.estimates import effective_sample_size, importance_log_z, lower_bound
from suffuse_energies.wasserstein import wasserstein2

from suffuse.contracts.part import setting
from suffuse.contracts.target import Target
from suffuse.contracts.task import Result, Task
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_gfn_diffusion.paths import log_weights

__all__ = ["LogZ"]


@attrs.frozen(kw_only=True)
class LogZ(Task):
    """Estimates of ``log Z`` and the distance to exact draws, of 2000 samples as in the paper.

    Input: ``n``, optional. Metrics: ``elbo`` (mean log-weight), ``log_z`` (log mean weight), ``ess``, and where known
    the true ``log_z_true`` and ``w2`` to as many exact draws. States: ``samples``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean", "stochastic"})

    target: Target = setting(doc="what was learned")

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for other inputs."""
        n = inputs.get("n", 2000)
        if set(inputs) - {"n"} or not isinstance(n, int) or n < 1:
            raise InvalidInput(f"expected n, a number of samples, got {sorted(inputs)}")
        streams = rng.pool().repeat(n)
        x, log_w = log_weights(system, self.target, streams)
        found = {
            "elbo": float(lower_bound(log_w.double())),
            "log_z": float(importance_log_z(log_w.double())),
            "ess": float(effective_sample_size(log_w.double())),
        }
        if self.target.log_z is not None:
            found["log_z_true"] = self.target.log_z
        with suppress(Unsupported):
            found["w2"] = wasserstein2(x, self.target.sample(streams.at("exact")))
        return Result(metrics=found, states={"samples": x})
