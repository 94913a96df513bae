"""How features lie: alignment of noisy views of one sample, and uniformity over samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from suffuse.contracts.part import setting
from suffuse.contracts.task import Dataset, Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_ddae.data import labelled
from suffuse_ddae.features import features, known

__all__ = ["Contrast", "alignment", "uniformity"]


def alignment(f: Tensor, g: Tensor) -> Tensor:
    """``mean |f(x) - f(x')|^2`` over pairs of views ``(B, D)``: lower is better, 0 where views coincide."""
    return (f - g).square().sum(1).mean()


def uniformity(f: Tensor) -> Tensor:
    """``log mean exp(-2 |f(x) - f(y)|^2)`` over pairs of different rows: at most 0, which all-equal features have."""
    return F.pdist(f).square().mul(-2).exp().mean().log()


@attrs.frozen(kw_only=True)
class Contrast(Task):
    """The two statistics of contrastive learning, of every block's features, which that learning was not trained for.

    Wang and Isola, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere, 2020, arXiv:2005.10242, of unit-length features of two noisy views; along the training of a denoiser in
    Xiang et al. 2023, arXiv:2303.09769. No inputs. Table ``blocks``: ``block``, ``alignment`` and
    ``uniformity`` (the mean over both views), each the mean over batches of the data.
    """

    data: Dataset = setting(doc="the samples; labels are not used for anything")
    blocks: tuple[str, ...] = setting((), "of the backbone, input, or x0; all of the backbone's if none is named")
    t: float = setting(0.011, "the noise level, in the process's time", ge=0, le=1)
    batch: int = setting(128, "rows whose pairs are compared", ge=2)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Raises ``InvalidInput`` for inputs, or for data of fewer than 2 rows."""
        if inputs:
            raise InvalidInput(f"ddae/contrast takes no inputs, got {', '.join(sorted(inputs))}")
        blocks, n = known(system, self.blocks), len(self.data)
        if n < 2:
            raise InvalidInput(f"pairs need at least 2 rows, got {n}")
        streams, table = rng.pool().repeat(n), {name: torch.zeros(2, dtype=torch.float64) for name in blocks}
        # Two rows at least in each batch: a last one of a single row joins the one before.
        for at in torch.arange(n).tensor_split(max(1, n // self.batch)):
            x0, _ = labelled(system, self.data, at, rng)
            with torch.no_grad():
                f, g = (features(system, x0, self.t, blocks, streams.index(at).at("view", i)) for i in (0, 1))
            for name in blocks:
                u, v = (F.normalize(h[name].double(), dim=1) for h in (f, g))
                both = torch.stack([alignment(u, v), (uniformity(u) + uniformity(v)) / 2])
                table[name] += both.cpu() * len(at) / n
        rows = [{"block": k, "alignment": float(v[0]), "uniformity": float(v[1])} for k, v in table.items()]
        return Result(tables={"blocks": rows})
