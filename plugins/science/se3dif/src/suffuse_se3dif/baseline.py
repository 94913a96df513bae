"""What the claims compare with: a variational autoencoder of poses, and the distance between sets of poses."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from suffuse.rng import Rng
from suffuse.state import State
from suffuse_se3dif import so3
from suffuse_se3dif.poses import leaves_of

__all__ = ["distances", "earth_mover", "fit_vae"]


def distances(x: State, y: State) -> Tensor:
    """``|p - q| + angle(R^T S)`` of every pair, ``(n, m)``."""
    (R, p), (S, q) = leaves_of(x), leaves_of(y)
    return torch.cdist(p, q) + so3.log(R.mT[:, None] @ S[None]).norm(dim=-1)


def earth_mover(x: State, y: State) -> float:
    """The mean of ``distances`` under the best matching of two sets of one size."""
    cost = distances(x, y).numpy()
    return float(cost[linear_sum_assignment(cost)].mean())


class _Vae(nn.Module):
    def __init__(self, width: int, latent: int) -> None:
        super().__init__()

        def net(wide: int, narrow: int) -> nn.Sequential:
            hidden = [nn.Linear(width, width), nn.SiLU()]
            return nn.Sequential(nn.Linear(wide, width), nn.SiLU(), *hidden, nn.Linear(width, narrow))

        self.encoder, self.decoder = net(6, 2 * latent), net(latent, 6)
        self.latent = latent


def fit_vae(data: State, n: int, *, steps: int, batch: int, seed: int, width: int, latent: int = 4) -> State:
    """n samples of an autoencoder of ``[p, log R]``, trained on rows of data: squared error / 0.05^2 and KL divergence.

    Baseline of Urain et al. 2023, arXiv:2209.03855, section V, without point clouds.
    """
    R, p = leaves_of(data)
    x = torch.cat([p, so3.log(R)], dim=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = _Vae(width, latent)
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3)
    for step in range(steps):
        rng = Rng.of(seed, batch).at("vae", step)
        rows = x[rng.at("rows").integers(0, len(x))]
        mean, log_std = vae.encoder(rows).chunk(2, dim=1)
        z = mean + log_std.exp() * rng.at("z").normal(mean)
        error = (vae.decoder(z) - rows).square().sum(1) / (2 * 0.05**2)
        kl = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)
        optimizer.zero_grad()
        (error + kl).mean().backward()
        optimizer.step()
    with torch.no_grad():
        out = vae.decoder(Rng.of(seed, n).at("sample").normal(torch.empty(n, latent)))
    return {"R": so3.exp(out[:, 3:]), "p": out[:, :3]}
