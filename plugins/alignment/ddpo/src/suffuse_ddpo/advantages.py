"""Advantages: rewards compared with others of the same prompt."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["by_prompt", "normalised"]


def normalised(reward: Tensor) -> Tensor:
    """``(r - mean) / std`` over the batch."""
    return (reward - reward.mean()) / (reward.std(correction=0) + 1e-6)


def by_prompt(reward: Tensor, prompt: Tensor, history: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """``(r - mean) / std`` over the latest rewards of the same prompt, and the history with these rewards.

    ``history (prompts, size)`` holds each prompt's latest rewards, NaN where there are none yet. A prompt with fewer
    than ``least`` of them is compared with the whole batch. Black et al., 2023, arXiv:2305.13301, and the
    authors' code: the batch's own rewards count.
    """
    advantage, history, size = normalised(reward), history.clone(), history.shape[1]
    for p in prompt.unique().tolist():
        here = prompt == p
        known = torch.cat([history[p][history[p].isfinite()], reward[here].to(history)])[-size:]
        history[p] = torch.cat([known, known.new_full((size - len(known),), math.nan)])
        if len(known) >= least:
            advantage[here] = ((reward[here] - known.mean()) / (known.std(correction=0) + 1e-6)).to(advantage)
    return advantage, history
