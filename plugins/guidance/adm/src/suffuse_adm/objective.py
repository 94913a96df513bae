"""Training a classifier on noisy states."""

from __future__ import annotations

from typing import ClassVar, cast

import attrs
from suffuse_ddpm.times import Steps

from suffuse.contracts.objective import Batch, Loss, Objective, Progress, Times
from suffuse.contracts.part import setting
from suffuse.contracts.prediction import Logits
from suffuse.contracts.process import Gaussian
from suffuse.errors import InvalidInput, Unsupported
from suffuse.rng import Rng
from suffuse.system import System
from suffuse_adm.gradient import of_label

__all__ = ["NoisyClassifier"]


@attrs.frozen(kw_only=True)
class NoisyClassifier(Objective):
    """``-log p(y | x_t)`` at a random time: cross-entropy of the label on states as noisy as sampling meets them.

    Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, 2021, arXiv:2105.05233, section 4. The model of
    the system is the classifier (``adm/classifier``). Samples without a label have no loss.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "logits"})

    times: Times = setting(factory=Steps, doc="the distribution of training times")

    def loss(self, player: str, batch: Batch | None, system: System, state: Progress, rng: Rng) -> Loss:
        """Nats for each sample. Streams: ``times``, ``noise``, ``model``."""
        if batch is None:
            raise InvalidInput("a classifier needs labelled data")
        process = cast(Gaussian, system.process)  # by ``needs``
        t, importance = self.times.draw(process, len(batch.index), rng)
        x_t = process.corrupt(batch.x, t, rng=rng).x_t
        said = system.plain(x_t, t, batch.cond, rng=rng.at("model"))
        if not isinstance(said, Logits):
            raise Unsupported(f"a classifier gives logits, got a prediction of kind '{said.name}'")
        nats = -of_label(said, batch.cond)
        right = (said.logits.detach().argmax(1) == batch.cond["label"]).to(nats.dtype)
        return Loss(nats * importance.to(nats), {"accuracy": right.mean()})
