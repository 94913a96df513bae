"""A system: process, model, sampler, guidance and codec, composed and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import cast

import attrs
import torch
from torch import Tensor, nn

from suffuse.capabilities import Given, check
from suffuse.contracts.condition import Condition
from suffuse.contracts.guidance import Guidance
from suffuse.contracts.model import Denoise, Denoiser, Generator
from suffuse.contracts.network import Codec
from suffuse.contracts.part import Part
from suffuse.contracts.prediction import Prediction
from suffuse.contracts.process import Process
from suffuse.contracts.sampler import Carry, Sampler, Step, StepInfo, stream
from suffuse.contracts.space import Space
from suffuse.errors import InvalidInput, Unsupported
from suffuse.parts import Identity
from suffuse.points import constant
from suffuse.rng import Rng
from suffuse.state import State, rows, same_form, size, tree_map

__all__ = ["System", "parts_of"]


@attrs.frozen(eq=False, kw_only=True, slots=False)
class System:
    """An immutable composition. Wrong combinations raise ``IncompatibleComponents`` when composed.

    Swap a part with ``attrs.evolve(system, sampler=...)``; networks are shared, not copied.
    """

    model: Denoiser | Generator
    space: Space
    process: Process | None = attrs.field(
        default=attrs.Factory(lambda self: getattr(self.model, "trained", None), takes_self=True),
        metadata={"doc": "the forward process; that of the model's training unless another is named"},
    )
    sampler: Sampler | None = None
    guidance: Guidance | None = None
    codec: Codec = attrs.field(factory=Identity)

    def __attrs_post_init__(self) -> None:
        check([Given(path, type(part).__name__, part.needs, part.gives) for path, part in parts_of(self)])

    @cached_property
    def denoise(self) -> Denoise:
        """The guided denoiser, with the process bound."""
        plain = self.plain
        return plain if self.guidance is None else self.guidance.denoiser(plain, self)

    @cached_property
    def plain(self) -> Denoise:
        """The denoiser without guidance."""
        model, process = self.model, self.process
        if not isinstance(model, Denoiser) or process is None:
            raise Unsupported("a system without a process has no denoiser; sample it, or use its generator")

        def denoise(
            x_t: State, t: Tensor, cond: Condition, *, s: Tensor | None = None, rng: Rng | None = None
        ) -> Prediction:
            return cast(Prediction, model(x_t, t, cond.without(reads), process=process, s=s, rng=rng))

        reads = self.reads
        return denoise

    @cached_property
    def reads(self) -> frozenset[str]:
        """The condition's entries that are the guidance's own and kept from the model."""
        return frozenset[str]().union(*(p.reads for _, p in parts_of(self) if isinstance(p, Guidance)))

    def check(self, cond: Condition) -> None:
        """Raise ``InvalidInput`` for a condition that the model cannot take, but for what the guidance reads."""
        self.model.check(cond.without(self.reads))

    @cached_property
    def step(self) -> Step:
        """The guided step."""
        if self.sampler is None:
            raise Unsupported("this system has no sampler")
        return self.sampler.step if self.guidance is None else self.guidance.step(self.sampler.step, self)

    @property
    def points(self) -> tuple[Tensor, ...]:
        """The times of the sampler's own grid, made once where nothing in sampler and process can change."""
        if self.sampler is None or self.process is None:
            raise Unsupported("this system has no sampler or no process to walk through")
        if not (constant(self.sampler) and constant(self.process)):
            return self.sampler.times(self.process).unbind()
        if any(t._version for t in self._points):  # a caller has written on them
            del vars(self)["_points"]
        return self._points

    @cached_property
    def _points(self) -> tuple[Tensor, ...]:
        with torch.inference_mode(False):  # they may meet gradients later
            return cast(Sampler, self.sampler).times(cast(Process, self.process)).clone().unbind()

    @property
    def device(self) -> torch.device:
        """Where the model's weights are; the CPU for a model without weights."""
        first = next(self.model.parameters(), None)
        return torch.device("cpu") if first is None else first.device

    def modules(self) -> Mapping[str, nn.Module]:
        """Every part with weights, by path, outermost only: what is trained, moved and saved."""
        found: dict[str, nn.Module] = {}
        for path, part in parts_of(self):
            if isinstance(part, nn.Module) and not any(path.startswith(f"{p}.") for p in found):
                found[path] = part
        return found

    def stream(
        self,
        n: int | None = None,
        *,
        cond: Condition | Mapping[str, Tensor] | None = None,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        start: State | None = None,
        times: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[tuple[Carry, StepInfo]]:
        """Sample step by step, in state space. See ``sample``."""
        cond, rng = self._begin(n, cond, seed, seeds, start)
        like = self.space.like(rng.size, dtype=dtype, device=self.device)
        if start is not None:
            same_form(start, like, "start")
            start = tree_map(lambda v, w: v.to(w), start, like)
        return stream(self, like, cond, rng, start=start, times=times)

    def sample(
        self,
        n: int | None = None,
        *,
        cond: Condition | Mapping[str, Tensor] | None = None,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        start: State | None = None,
        times: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        batch: int | None = None,
        on_step: Callable[[int, StepInfo], None] | None = None,
    ) -> State:
        """Draw samples, as data.

        Sample i depends on ``(seed, i)`` (or on ``seeds[i]``) and on its own condition, not on the batch it is drawn
        in: ``batch`` splits the work and changes nothing. ``start`` are states to start from instead of the prior;
        ``times`` replaces the sampler's grid. ``on_step(i, info)`` sees every step. Gradients flow if the weights or
        the start require them.

        Raises ``InvalidInput`` for a wrong shape, an empty batch, non-finite values, or a condition that the model
        does not know or that lies out of its range.
        """
        whole, rng = self._begin(n, cond, seed, seeds, start)
        if batch is not None and batch < 1:
            raise InvalidInput(f"batch must be at least 1, got {batch}")
        done: list[State] = []
        for first in range(0, rng.size, batch or rng.size):
            at = slice(first, first + (batch or rng.size))
            begin = None if start is None else rows(start, at)
            done.append(self._sample(whole.index(at), rng.index(at), begin, times, dtype, on_step))
        return tree_map(lambda *vs: torch.cat(vs), done[0], *done[1:])

    def _sample(
        self,
        cond: Condition,
        rng: Rng,
        start: State | None,
        times: Tensor | None,
        dtype: torch.dtype,
        on_step: Callable[[int, StepInfo], None] | None,
    ) -> State:
        like = self.space.like(rng.size, dtype=dtype, device=self.device)
        if isinstance(self.model, Generator):
            z = self.model.latent.law(rng.size, dtype=dtype, device=self.device).sample(rng.at("latent"))
            return self.codec.decode(self.model(z, cond, rng=rng.at("model")))
        if start is not None:
            same_form(start, like, "start")
            start = tree_map(lambda v, w: v.to(w), start, like)
        if times is not None and len(times) < 2:
            raise InvalidInput(f"times must hold at least two values, got {times.tolist()}")
        x: State = like
        for i, (carry, info) in enumerate(stream(self, like, cond, rng, start=start, times=times)):
            x = carry.x
            if on_step is not None:
                on_step(i, info)
        return self.codec.decode(x)

    def _begin(
        self,
        n: int | None,
        cond: Condition | Mapping[str, Tensor] | None,
        seed: int,
        seeds: Sequence[int] | None,
        start: State | None,
    ) -> tuple[Condition, Rng]:
        cond = (cond if isinstance(cond, Condition) else Condition(cond)).to(self.device)
        sizes = {
            "n": n,
            "cond": cond.size,
            "seeds": None if seeds is None else len(seeds),
            "start": None if start is None else size(start),
        }
        given = {k: v for k, v in sizes.items() if v is not None}
        if len(set(given.values())) != 1:
            raise InvalidInput(f"how many samples? {given or 'give n, cond, seeds or start'}")
        count = next(iter(given.values()))
        if count < 1:
            raise InvalidInput(f"expected at least one sample, got {given}")
        if start is not None:
            self.space.check(start)
        self.check(cond)
        device = self.device
        return cond, Rng.of(seed, count, device=device) if seeds is None else Rng.from_seeds(seeds, device=device)


def parts_of(whole: object, path: str = "") -> Iterator[tuple[str, Part]]:
    """Every part of a composition with its path, parents first."""
    for a in attrs.fields(cast(type[attrs.AttrsInstance], type(whole))):
        value = getattr(whole, a.name)
        items = enumerate(value) if isinstance(value, tuple | list) else [(None, value)]
        for i, part in items:
            if isinstance(part, Part):
                at = ".".join(filter(None, (path, a.name, None if i is None else str(i))))
                yield at, part
                if attrs.has(type(part)):
                    yield from parts_of(part, at)
