"""The bound of masked diffusion without its time: a uniform number of masks."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs
import torch
from suffuse_md4.bound import process_of
from torch import Tensor
from torch.nn.functional import cross_entropy

from suffuse.contracts.objective import Batch, Loss, Objective, Progress
from suffuse.errors import InvalidInput
from suffuse.rng import Rng
from suffuse.system import System

__all__ = ["MaskedCount"]


@attrs.frozen(kw_only=True)
class MaskedCount(Objective):
    """``-(1/n) sum_{masked i} log mu_i[x0_i]`` with n masks, n uniform on 1 ... L: bits a token of the bound.

    Zheng et al., Masked Diffusion Models are Secretly Time-Agnostic Masked Models and Exploit Inaccurate Categorical
    Sampling, 2024, arXiv:2409.02908, section 3. It is the continuous-time bound of every schedule, up to what an eps
    cuts off. The masks are the n least of L uniforms and ``1 - alpha_t`` is the largest of these: the law of t given n
    masks, so it is the bound also of networks that are told the time.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"masked", "logits"})

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Bits a token for each sample; the model is the unguided one. Streams: ``count``, ``masks``, ``model``."""
        if batch is None or not isinstance(batch.x, Tensor):
            raise InvalidInput("the bound needs data, one tensor of tokens")
        process, x0 = process_of(system), batch.x
        flat = x0.flatten(1)
        length = flat.shape[1]
        n = rng.at("count").integers(1, length + 1).to(x0.device)
        u = rng.at("masks").uniform(torch.empty(flat.shape, dtype=torch.float64, device=x0.device))
        share = u.sort(dim=1).values.gather(1, n[:, None] - 1)
        hidden = u <= share
        x_t = torch.where(hidden, process.symbols, flat).view_as(x0)
        logits = system.plain(x_t, process.time(share), batch.cond, rng=rng.at("model")).logits
        nats = cross_entropy(logits.flatten(0, -2), flat.flatten(), reduction="none").view_as(flat)
        bits = (nats * hidden).sum(1) / (n * math.log(2))
        return Loss(bits, {"bits_per_token": bits.detach().mean()})
