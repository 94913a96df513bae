"""The variational bound as a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.task import Result, Task
from suffuse.rng import Rng
from suffuse.state import rows
from suffuse.system import System
from suffuse_ddpm.chain import LEVELS, STEPS, VARIANCE, ReverseChain, bits_per_dim, check_levels
from suffuse_ddpm.inputs import encoded

__all__ = ["Bound"]


@attrs.frozen(kw_only=True)
class Bound(Task):
    """``L_T + sum_n KL_n + L_0``: an upper bound on the negative log-likelihood of data, in bits/dim.

    Ho et al. 2020, arXiv:2006.11239, eqs. 5 and 13: one draw of x_n at every step of the chain, T evaluations a
    sample. The denoiser is the system's, guidance included (the authors clip x0 here: ``suffuse/clip``).

    Inputs: ``data`` ``(B, *event)`` in the codec's range and, for a conditional model, ``cond``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    T: int | None = setting(None, STEPS, ge=2)
    variance: Literal["small", "large"] = setting("large", VARIANCE, choices=("small", "large"))
    levels: int = setting(256, LEVELS, check=check_levels)
    batch: int = setting(256, "rows at once; changes nothing else", ge=1)

    @torch.no_grad()
    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Metrics ``bound``, its parts ``prior``, ``divergence``, ``decoder``, and ``standard_error``; in bits/dim.

        Table ``steps``: the mean term of each step. State ``bound``: each row's total, ``(B,)``.
        """
        x, cond = encoded(system, inputs, rng)
        chain = ReverseChain.of_system(system, self.T, self.variance, self.levels)
        parts = []
        for first in range(0, rng.size, self.batch):
            at = slice(first, first + self.batch)
            parts.append(self._terms(system, chain, rows(x, at), cond.index(at), rng.index(at)))
        terms = torch.cat(parts, dim=1).double().cpu()  # (T + 1, B): L_0, the divergences, L_T
        whole, mean = terms.sum(0), terms.mean(1)
        metrics = {
            "bound": float(whole.mean()),
            "prior": float(mean[-1]),
            "divergence": float(mean[1:-1].sum()),
            "decoder": float(mean[0]),
            "standard_error": float(whole.std() / len(whole) ** 0.5) if len(whole) > 1 else float("nan"),
        }
        steps = [{"step": n, "t": n / chain.T, "bits_per_dim": float(mean[n - 1])} for n in range(1, chain.T + 1)]
        return Result(metrics=metrics, tables={"steps": steps}, states={"bound": whole})

    @staticmethod
    def _terms(system: System, chain: ReverseChain, x: Any, cond: Any, rng: Rng) -> Tensor:  # noqa: ANN401
        found = []
        for n in torch.arange(1, chain.T + 1):
            t, s = chain.times(n)
            stream = rng.at("step", int(n))
            x_t = chain.process.corrupt(x, t, rng=stream).x_t
            estimate = system.denoise(x_t, t, cond, s=s, rng=stream.at("model")).x0
            found.append(bits_per_dim(chain.term(x, estimate, n), x))
        return torch.stack([*found, bits_per_dim(chain.prior_term(x, cond), x)])
