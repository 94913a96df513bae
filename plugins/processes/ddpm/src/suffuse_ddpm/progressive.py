"""Progressive lossy decoding: what a receiver sees after so many bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import attrs
import torch
from torch import Tensor

from suffuse.contracts.part import setting
from suffuse.contracts.task import Result, Task
from suffuse.rng import Rng
from suffuse.state import State, leaves
from suffuse.system import System
from suffuse_ddpm.chain import LEVELS, STEPS, VARIANCE, ReverseChain, bits_per_dim, check_levels
from suffuse_ddpm.inputs import encoded

__all__ = ["Progressive"]


@attrs.frozen(kw_only=True)
class Progressive(Task):
    """Sends data along the chain and decodes x0_hat(x_n) at every step: rate against distortion.

    Ho et al. 2020, arXiv:2006.11239, section 4.3 and algorithms 3 and 4: x_T costs L_T bits, and x_{n-1}, drawn from
    ``q(x_{n-1} | x_n, x_0)``, costs the n-th divergence. The last row is the lossless code, x_0 given x_1.

    Inputs: ``data`` ``(B, *event)`` in the codec's range and, for a conditional model, ``cond``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "mean"})

    T: int | None = setting(None, STEPS, ge=2)
    variance: Literal["small", "large"] = setting("large", VARIANCE, choices=("small", "large"))
    levels: int = setting(256, LEVELS, check=check_levels)
    columns: int = setting(8, "decoded images a row of the picture, evenly spaced in steps", ge=1)
    lines: int = setting(8, "samples in the picture", ge=1)

    @torch.no_grad()
    def run(self, system: System, inputs: Mapping[str, Any], rng: Rng) -> Result:
        """Table ``decoding``: step, t, rate (bits/dim sent so far), distortion (RMSE in the data's units).

        Metrics ``rate`` and ``distortion`` are those at x_1, and ``lossless`` the whole code's bits/dim. Picture
        ``decoding``, for images: noise to data, one sample a line, the data last.
        """
        x, cond = encoded(system, inputs, rng)
        data = system.codec.decode(x)
        chain = ReverseChain.of_system(system, self.T, self.variance, self.levels)
        process, T = chain.process, chain.T
        shown = set(torch.linspace(T, 1, min(self.columns, T)).round().int().tolist())
        sent = bits_per_dim(chain.prior_term(x, cond), x)
        x_t = process.corrupt(x, chain.times(torch.tensor(T))[0], rng=rng.at("start")).x_t
        table, decoded = [], []
        for n in torch.arange(T, 0, -1):
            (t, s), stream = chain.times(n), rng.at("step", int(n))
            estimate = system.denoise(x_t, t, cond, s=s, rng=stream.at("model")).x0
            guess = system.codec.decode(estimate)
            table.append({"step": int(n), "t": float(t), "rate": float(sent.mean()), "distortion": _rmse(guess, data)})
            if int(n) in shown:
                decoded.append(guess)
            sent = sent + bits_per_dim(chain.term(x, estimate, n), x)
            if n > 1:
                x_t = process.posterior(x_t, x, t, s).sample(stream.at("noise"))
        last = table[-1]
        metrics = {"rate": last["rate"], "distortion": last["distortion"], "lossless": float(sent.mean())}
        if self.levels:  # a density codes nothing without loss
            table.append({"step": 0, "t": 0.0, "rate": float(sent.mean()), "distortion": 0.0})
        pictures = {}
        if isinstance(data, Tensor) and data.ndim == 4:
            pictures["decoding"] = _picture([*decoded, data], self.lines, system.codec.low, system.codec.high)
        return Result(metrics=metrics, tables={"decoding": table}, pictures=pictures)


def _rmse(guess: State, data: State) -> float:
    """The root of the mean square over all elements of each sample, averaged over the samples as in the paper."""
    pairs = zip(leaves(guess), leaves(data), strict=True)
    squares = torch.cat([(a - b).flatten(1).square() for (_, a), (_, b) in pairs], dim=1)
    return float(squares.mean(1).sqrt().mean())


def _picture(columns: list[State], lines: int, low: float, high: float) -> Tensor:
    """Columns of ``(B, C, H, W)`` as one ``(C, lines H, columns W)`` in [0, 1], by the codec's range or the data's."""
    data = columns[-1]
    assert isinstance(data, Tensor)
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        low, high = float(data.min()), float(data.max())
    stacked = torch.stack([c[:lines] for c in columns])  # type: ignore[index]
    scaled = ((stacked - low) / max(high - low, 1e-12)).clamp(0, 1)
    k, b, c, h, w = scaled.shape
    return scaled.permute(2, 1, 3, 0, 4).reshape(c, b * h, k * w).cpu()
