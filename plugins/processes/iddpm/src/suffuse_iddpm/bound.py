"""The variational bound of a chain with learned variances, on any sub-sequence."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import attrs
import torch
from suffuse_ddpm.chain import LEVELS, ReverseChain, bits_per_dim, check_levels
from suffuse_ddpm.inputs import encoded
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.sampler import Grid
from suffuse.contracts.task import Result, Task
from suffuse.errors import Unsupported
from suffuse.rng import Rng
from suffuse.state import rows
from suffuse.system import System
from suffuse_iddpm.spaced import Spaced
from suffuse_iddpm.terms import term

__all__ = ["Bound"]


@attrs.frozen(kw_only=True)
class Bound(Task):
    """An upper bound on the negative log-likelihood of data, in bits/dim, with the variances that the model tells.

    Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, arXiv:2102.09672, section 3: the sum
    of the terms of all steps, one draw of x_t at each, and of ``KL(q(x_1 | x_0) || prior)``. With fewer ``steps`` than
    the chain has, the bound of the respaced chain. The denoiser is the system's, guidance included (the
    authors clip x0 here: ``suffuse/clip``).

    Inputs: ``data`` ``(B, *event)`` in the codec's range and, for a conditional model, ``cond``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean", "variance"})

    steps: int | None = setting(None, "steps of the walk; by default all of the chain's", ge=2)
    grid: Grid = setting(factory=Spaced, doc="which steps")
    levels: int = setting(256, LEVELS, check=check_levels)
    batch: int = setting(256, "rows at once; changes nothing else", ge=1)

    @torch.no_grad()
    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Metrics ``bound``, its parts ``prior``, ``divergence``, ``decoder``, and ``standard_error``; in bits/dim.

        Table ``steps``: the mean term of each step, from its time t to s. State ``bound``: each row's total, ``(B,)``.
        """
        x, cond = encoded(system, inputs, rng)
        chain = ReverseChain.of_system(system, None, "small", self.levels)
        times = self.grid.times(chain.process, self.steps or chain.T)
        if times[0] != 1:
            raise Unsupported(f"the bound needs a grid from t = 1, got one from t = {float(times[0]):g}")
        walk = list(pairwise([*times.unbind(), times.new_zeros(())]))
        parts = []
        for first in range(0, rng.size, self.batch):
            at = slice(first, first + self.batch)
            parts.append(self._terms(system, chain, walk, rows(x, at), cond.index(at), rng.index(at)))
        terms = torch.cat(parts, dim=1).double().cpu()  # (steps + 1, B): from t = 1 down, then the prior's
        whole, mean = terms.sum(0), terms.mean(1)
        metrics = {
            "bound": float(whole.mean()),
            "prior": float(mean[-1]),
            "divergence": float(mean[:-2].sum()),
            "decoder": float(mean[-2]),
            "standard_error": float(whole.std() / len(whole) ** 0.5) if len(whole) > 1 else float("nan"),
        }
        table = [
            {"t": float(t), "s": float(s), "bits_per_dim": float(b)} for (t, s), b in zip(walk, mean, strict=False)
        ]
        return Result(metrics=metrics, tables={"steps": table}, states={"bound": whole})

    @staticmethod
    def _terms(
        system: System,
        chain: ReverseChain,
        walk: list[tuple[Tensor, Tensor]],
        x: Any,  # noqa: ANN401
        cond: Any,  # noqa: ANN401
        rng: Rng,
    ) -> Tensor:
        found = []
        for i, (t, s) in enumerate(walk):
            stream = rng.at("step", i)
            x_t = chain.process.corrupt(x, t, rng=stream).x_t
            said = system.denoise(x_t, t, cond, s=s, rng=stream.at("model"))
            found.append(bits_per_dim(term(chain.process, x, said, t, s, chain.levels), x))
        return torch.stack([*found, bits_per_dim(chain.prior_term(x, cond), x)])
