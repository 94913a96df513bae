"""One term of the variational bound, with a variance for each element."""

from __future__ import annotations

import torch
from suffuse_ddpm.decoder import log_level_probability
from torch import Tensor

from suffuse.contracts.law import Normal
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Gaussian
from suffuse.state import State, expand, leaves, tree_map
from suffuse_iddpm.transition import log_range, slope, transition_variance

__all__ = ["term"]


def term(process: Gaussian, x0: State, prediction: Prediction, t: Tensor, s: Tensor, levels: int) -> Tensor:
    """The bound's term of the step from t to s, for each row, in nats.

    ``KL(q(x_s | x_t, x_0) || N(mu(x_t, x0_hat), Sigma))`` for s > 0, and the decoder's ``-log p(x_0 | x_t)`` at s = 0,
    where mu is x0_hat itself: the probability of x_0's level, or its density for ``levels=0``. Differentiable in
    x0_hat and Sigma (Nichol and Dhariwal 2021, arXiv:2102.09672, eqs. 4 to 7).
    """
    estimate, variance = prediction.x0, transition_variance(prediction, process, t, s)
    log_small, mean_slope = log_range(process, t, s)[0], slope(process, t, s)

    def divergence(x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
        excess = expand(log_small, x) - sigma.log()
        error = (expand(mean_slope, x) * (x - mean)) ** 2 / sigma
        return ((error + excess.exp() - 1 - excess) / 2).flatten(1).sum(1)

    def decoder(x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
        if not levels:
            return -Normal(mean, sigma.sqrt()).log_prob(x)
        return -log_level_probability(x, mean, sigma.sqrt(), levels).flatten(1).sum(1)

    inner, last = (_sum(tree_map(f, x0, estimate, variance)) for f in (divergence, decoder))
    return torch.where(s.to(inner.device) > 0, inner, last)


def _sum(rows: State) -> Tensor:
    return torch.stack([v for _, v in leaves(rows)]).sum(0)
