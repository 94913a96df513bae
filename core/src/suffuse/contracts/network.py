"""Networks: backbones with named blocks, adapters that change them reversibly, encoders and codecs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import ClassVar

import attrs
import torch
from torch import Tensor, nn

from suffuse.contracts.condition import Condition
from suffuse.contracts.part import Part
from suffuse.errors import InvalidInput
from suffuse.state import State

__all__ = ["Adapter", "Backbone", "Codec", "Critic", "Edit", "Embedding", "Encoder", "check_labels"]

# An edit stands in for a block: it gets the block and its arguments, and may skip it, run it on a part, or change it.
Edit = Callable[..., Tensor]

_edits: ContextVar[Mapping[int, Mapping[str, Edit]]] = ContextVar("suffuse_edits", default={})  # noqa: B039


class Backbone(nn.Module, Part):
    """A bare network ``(x, c_noise, cond) -> tensor``; it knows nothing of processes.

    x ``(B, C, *size)`` or ``(B, D)``, scaled to about unit variance, in the weights' dtype; c_noise ``(B,)`` (or one
    per token), the noise level in the parameterization's own units, in at least float32. Named blocks stand in
    ``self.blocks`` and are run by ``self.run``, so that they can be read and edited from outside. A backbone whose
    settings allow labels gives ``conditional``.
    """

    kind = "backbone"

    blocks: nn.ModuleDict

    def check(self, cond: Condition) -> None:
        """Raise ``InvalidInput`` for a condition that this network cannot take; by default any entry."""
        if cond:
            raise InvalidInput(f"this model takes no condition, got {sorted(cond)}")

    @abstractmethod
    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The raw output, of the shape of x up to its channels."""

    def run(self, name: str, x: Tensor, *args: Tensor) -> Tensor:
        """Run a block, or the edit that stands in for it."""
        edit = _edits.get().get(id(self), {}).get(name)
        block = self.blocks[name]
        return block(x, *args) if edit is None else edit(block, x, *args)

    @contextmanager
    def edited(self, edits: Mapping[str, Edit]) -> Iterator[None]:
        """Inside the context, ``edits[name](block, x, *args)`` stands in for ``block(x, *args)``.

        Edits nest, the inner one outermost, and belong to the running thread or task: two samples in flight do not
        see each other's. Raises ``InvalidInput`` for a name that is no block.
        """
        if unknown := set(edits) - set(self.blocks):
            raise InvalidInput(f"no blocks {sorted(unknown)}; this backbone has {', '.join(self.blocks)}")
        outer = _edits.get().get(id(self), {})
        merged = {**outer, **{k: _around(e, outer.get(k)) for k, e in edits.items()}}
        token = _edits.set({**_edits.get(), id(self): merged})
        try:
            yield
        finally:
            _edits.reset(token)

    def features(self, x: Tensor, c_noise: Tensor, cond: Condition, *, at: Sequence[str]) -> dict[str, Tensor]:
        """The outputs of these blocks, with gradients."""
        kept: dict[str, Tensor] = {}

        def keep(name: str) -> Edit:
            def edit(block: nn.Module, x: Tensor, *args: Tensor) -> Tensor:
                kept[name] = block(x, *args)
                return kept[name]

            return edit

        with self.edited({name: keep(name) for name in at}):
            self(x, c_noise, cond)
        return kept


def _around(edit: Edit, inner: Edit | None) -> Edit:
    if inner is None:
        return edit
    return lambda block, x, *args: edit(lambda *a: inner(block, *a), x, *args)


def check_labels(cond: Condition, classes: int) -> None:
    """Raise ``InvalidInput`` unless the condition is empty or a ``label`` of integers in [0, classes)."""
    expected = f"label: integers (batch,) in [0, {classes})" if classes else "no condition"
    if set(cond) - ({"label"} if classes else set()):
        raise InvalidInput(f"this model takes {expected}, got {sorted(cond)}")
    if "label" in cond:
        label = cond["label"]
        if label.ndim != 1 or label.is_floating_point() or label.dtype == torch.bool:
            raise InvalidInput(f"expected {expected}, got {label.dtype} of shape {tuple(label.shape)}")
        if bool(((label < 0) | (label >= classes)).any()):
            raise InvalidInput(f"expected {expected}, got values from {int(label.min())} to {int(label.max())}")


class Adapter(Part):
    """A reversible change to a network that trains few parameters and is saved as a delta (LoRA, DiffFit)."""

    kind = "adapter"

    @abstractmethod
    def attach(self, network: nn.Module) -> AbstractContextManager[Mapping[str, nn.Parameter]]:
        """Change the network inside the context; gives the named parameters that train and make up the delta.

        On leaving, the network computes what it did before, bit for bit.
        """


@attrs.frozen(eq=False)
class Embedding:
    """What an encoder sees: one vector per sample ``(B, D)`` and, where it has them, tokens ``(B, N, D)``."""

    whole: Tensor
    tokens: Tensor | None = None
    logits: Tensor | None = None


class Encoder(nn.Module, Part):
    """A frozen feature network on data (not on noisy states): for metrics, alignment and recognition."""

    kind = "encoder"

    @abstractmethod
    def forward(self, data: Tensor) -> Embedding:
        """Embed data, in the range of the codec that the encoder was trained with."""


class Critic(nn.Module, Part):
    """A number for each sample: the discriminator or critic of an adversarial objective, whose field it is.

    What else it is told (a label, the noisy state and the time of a diffusion GAN) stands in the condition. It scores
    each sample by itself in evaluation mode.
    """

    kind = "critic"

    def check(self, cond: Condition) -> None:
        """Raise ``InvalidInput`` for a condition that this network cannot take; by default any entry."""
        if cond:
            raise InvalidInput(f"this critic takes no condition, got {sorted(cond)}")

    @abstractmethod
    def forward(self, x: State, cond: Condition) -> Tensor:
        """A real number without bounds for each sample, ``(B,)``: a logit, or a Lipschitz function's value."""


class Codec(Part):
    """Stands between data and states: ranges, latents, wavelets, tokens. May be trained (then also a Module).

    ``low`` and ``high`` are the data's range, the one place where it is written down.
    """

    kind = "codec"

    low: ClassVar[float] = float("-inf")
    high: ClassVar[float] = float("inf")

    @abstractmethod
    def encode(self, data: State) -> State:
        """Data to state."""

    @abstractmethod
    def decode(self, state: State) -> State:
        """State to data; ``decode(encode(d))`` is d up to the codec's own loss."""
