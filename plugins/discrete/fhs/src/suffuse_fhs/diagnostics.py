"""Token entropy of samples, and the fault of categorical draws told for a law of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.task import Example, Metric, Result, Task
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_fhs.precision import chain_law, largest_gumbel

__all__ = ["Precision", "TokenEntropy"]


@attrs.frozen(kw_only=True)
class TokenEntropy(Metric):
    """The entropy of the token frequencies within a sequence, in nats, averaged over sequences.

    Zheng et al. 2024, arXiv:2409.02908: a low perplexity of samples says nothing without it, as a low temperature buys
    it with diversity. Higher is more diverse; the reference's value is what to come near.
    """

    def measure(self, samples: Example, reference: Example) -> Mapping[str, float]:
        """``entropy`` of the samples and ``entropy_of_reference``."""
        return {"entropy": _entropy(samples), "entropy_of_reference": _entropy(reference)}


@attrs.frozen(kw_only=True)
class Precision(Task):
    """What cut-off Gumbel noise does to the entropy of a token's law in ancestral sampling, in closed form.

    Zheng et al. 2024, arXiv:2409.02908, section 5. Input ``probabilities`` ``(K,)``, the law of an independent token.
    The system is not used: the fault is of the draws alone, and those of suffuse do not have it.
    """

    steps: tuple[int, ...] = setting(
        (64, 256, 1024),
        "numbers of sampling steps",
        check=lambda v: None if v and min(v) >= 1 else f"expected numbers of at least 1, got {v!r}",
    )
    bits: int = setting(24, "of the uniforms behind the noise; 24 is float32", ge=2, le=53)

    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Metrics ``entropy``, the exact one in nats, and ``largest_gumbel``; table ``steps`` of those that result.

        Raises ``InvalidInput`` for other inputs.
        """
        if set(inputs) != {"probabilities"}:
            raise InvalidInput(f"expected the input probabilities, got {', '.join(sorted(inputs)) or 'nothing'}")
        p = torch.as_tensor(inputs["probabilities"], dtype=torch.float64)
        if p.ndim != 1 or not bool((p > 0).all()) or abs(float(p.sum()) - 1) > 1e-6:
            raise InvalidInput(f"expected positive probabilities (K,) that sum to 1, got {tuple(p.shape)}")
        cut, exact = largest_gumbel(self.bits), float(torch.special.entr(p).sum())
        table = []
        for n in self.steps:
            entropy = float(torch.special.entr(chain_law(p, n, cut)).sum())
            table.append({"steps": n, "entropy": entropy, "lost": exact - entropy})
        return Result(metrics={"entropy": exact, "largest_gumbel": cut}, tables={"steps": table})


def _entropy(example: Example) -> float:
    x = example.x
    if not isinstance(x, Tensor) or not x.numel():
        raise InvalidInput("expected one tensor of tokens")
    found = []
    for row in x.flatten(1):
        shares = row.unique(return_counts=True)[1].double() / row.numel()
        found.append(torch.special.entr(shares).sum())
    return float(torch.stack(found).mean())
