"""What a model is told beside the state: labels, embeddings, measurements, end points."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from suffuse.errors import InvalidInput

__all__ = ["Condition"]


class Condition(Mapping[str, Tensor]):
    """An immutable mapping of named batches. A dropped entry keeps its shape but is marked absent, row by row.

    ``Condition(label=torch.tensor([3, 5]))``. A model reads ``cond["label"]`` and ``cond.present("label")``, a bool
    ``(B,)``, and must use its null value where that is False. So conditioned and dropped rows share one batch.
    """

    __slots__ = ("_present", "_values")

    def __init__(
        self,
        values: Mapping[str, Tensor] | None = None,
        present: Mapping[str, Tensor] | None = None,
        /,
        **named: Tensor,
    ) -> None:
        """Raises ``InvalidInput`` unless every entry is a tensor and all share their first dimension."""
        values = {**(values or {}), **named}
        sizes = {k: (tuple(v.shape) if isinstance(v, Tensor) and v.ndim else v) for k, v in values.items()}
        if not all(isinstance(s, tuple) for s in sizes.values()) or len({s[0] for s in sizes.values()}) > 1:
            raise InvalidInput(f"a condition's entries must be tensors with one batch size, got {sizes}")
        if present is None:
            present = {k: torch.ones(v.shape[0], dtype=torch.bool, device=v.device) for k, v in values.items()}
        self._values: Mapping[str, Tensor] = values
        self._present: Mapping[str, Tensor] = present

    def __getitem__(self, key: str) -> Tensor:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}: {tuple(v.shape)}" for k, v in self._values.items())
        return f"Condition({shown})"

    @property
    def size(self) -> int | None:
        """The batch size, or None for an empty condition, which fits any."""
        return next((v.shape[0] for v in self._values.values()), None)

    def present(self, key: str) -> Tensor:
        """Where the entry is given: bool ``(B,)``."""
        return self._present[key]

    def drop(self, *keys: str, where: Tensor | None = None) -> Condition:
        """The condition without these entries (all if none is named), only in the rows of ``where`` if given."""
        chosen = keys or tuple(self._values)
        if missing := set(chosen) - set(self._values):
            raise InvalidInput(f"no entry {sorted(missing)} to drop in a condition on {sorted(self._values)}")
        gone = {
            k: self._present[k] & ~where if where is not None else torch.zeros_like(self._present[k]) for k in chosen
        }
        return Condition(self._values, {**self._present, **gone})

    def without(self, keys: Collection[str]) -> Condition:
        """The condition without these entries, whether they are there or not."""
        if not any(k in keys for k in self._values):
            return self
        kept = [k for k in self._values if k not in keys]
        return Condition({k: self._values[k] for k in kept}, {k: self._present[k] for k in kept})

    def also(self, **named: Tensor) -> Condition:
        """The condition with these entries too, present in every row; those of the same name are replaced."""
        more = Condition(named)
        return Condition({**self._values, **more._values}, {**self._present, **more._present})

    def index(self, rows: Any) -> Condition:  # noqa: ANN401 - a slice, an index tensor or a mask
        """These rows of every entry."""
        return self._map(lambda v: v[rows])

    def to(self, device: torch.device | str) -> Condition:
        """The same condition on another device."""
        return self._map(lambda v: v.to(device))

    @staticmethod
    def cat(parts: Sequence[Condition]) -> Condition:
        """Stack batches. All must have the same entries."""
        if len({frozenset(p) for p in parts}) > 1:
            raise InvalidInput(f"conditions with different entries: {[sorted(p) for p in parts]}")
        return Condition(
            {k: torch.cat([p[k] for p in parts]) for k in parts[0]},
            {k: torch.cat([p.present(k) for p in parts]) for k in parts[0]},
        )

    def _map(self, f: Callable[[Tensor], Tensor]) -> Condition:
        return Condition({k: f(v) for k, v in self._values.items()}, {k: f(v) for k, v in self._present.items()})
