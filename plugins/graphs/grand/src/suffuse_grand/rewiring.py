"""Other edges for the diffusion than those of the graph."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import Part, setting

__all__ = ["Rewiring"]


@attrs.frozen(kw_only=True)
class Rewiring(Part):
    """Joins nodes within ``hops``, then keeps the edges with the most attention.

    Chamberlain et al. 2021, arXiv:2106.10934 (spatial discretisation): once, before the diffusion, edges
    where the powers ``A, A^2, ..., A^hops`` are non-zero are candidates, and of these stay the share ``keep`` whose
    attention at X(0) is greatest, in each graph. A node keeps its self-loop. No gradient passes through the choice.
    """

    kind = "rewiring"

    hops: int = setting(2, "length of the paths that become edges", ge=1)
    keep: float = setting(0.5, "share of the candidates that stay", gt=0, le=1)

    def rewire(self, edges: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """Bool ``(B, N, N)`` to the same; ``attend`` gives the attention over any edges."""
        with torch.no_grad():
            reached = edges
            for _ in range(self.hops - 1):
                reached = (reached.float() @ edges.float()) > 0
            weight = attend(reached)
            loops = torch.eye(edges.shape[-1], dtype=torch.bool, device=edges.device)
            kept = []
            for row, there in zip(weight, reached & ~loops, strict=True):
                least = row[there].quantile(1 - self.keep) if bool(there.any()) else row.new_zeros(())
                kept.append((there & (row >= least)) | loops)
            return torch.stack(kept)
