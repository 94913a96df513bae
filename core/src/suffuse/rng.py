"""Randomness as a function of its name: the sample's key, a path, the method. No state, no global generator.

A sample keeps its noise whatever batch it is in, on any device, in any order of calls, and after a resume. What is not
asked for is not drawn.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import torch
from torch import Tensor

from suffuse._philox import MASK, Words, exponential, fraction, log, normal, philox, philox_integers, scaled
from suffuse.errors import InvalidInput

__all__ = ["Rng"]

_Make: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _integer(value: Any, what: str, low: int, high: int) -> int:  # noqa: ANN401 - anything may come
    """``value`` as an int in [low, high)."""
    try:
        number = None if isinstance(value, bool | Tensor) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not low <= number < high:
        raise InvalidInput(f"{what} must be an integer from {low} to {high - 1}, got {value!r}")
    return number


def _path(path: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Plain strings and ints; a time or a flag does not name a stream."""
    if all(type(p) is str or (type(p) is int and -(2**63) <= p < 2**63) for p in path):
        return path
    what = "an item of a path, if not a string,"
    return tuple(str(p) if isinstance(p, str) else _integer(p, what, -(2**63), 2**63) for p in path)


def _keys(_: Rng, __: attrs.Attribute[Tensor], keys: Tensor) -> None:
    if keys.ndim != 2 or keys.shape[1] != 2 or keys.dtype != torch.int64:
        raise InvalidInput(f"keys must be int64 of shape (batch, 2), got {keys.dtype} of shape {tuple(keys.shape)}")


def _tag(path: tuple[int | str, ...], method: str) -> int:
    """64 bits for a path and a method. Every item carries its type and length, so no two paths spell the same."""
    spelled = b"".join(
        b"i%d;" % p if isinstance(p, int) else b"s%d:%b" % (len(s := p.encode()), s) for p in (*path, method)
    )
    return int.from_bytes(hashlib.blake2b(spelled, digest_size=8).digest(), "little")


def _float64(device: torch.device) -> torch.device:
    """The device itself, or the CPU for one without float64."""
    return torch.device("cpu") if device.type == "mps" else device


def _single(f: Callable[[Tensor, Tensor], Tensor]) -> _Make:
    return lambda w0, w1, w2, w3: (f(w0, w1), f(w2, w3))


def _word63(high: Tensor, low: Tensor) -> Tensor:
    return high.bitwise_left_shift_(31).bitwise_or_(low.bitwise_right_shift_(1))


def _as_keys(words: Words) -> Tensor:
    return torch.stack([words[0].flatten(), words[1].flatten()], dim=1)


@attrs.frozen(eq=False)
class Rng:
    """One stream of random numbers for each sample of a batch: a Philox key a row, and a path that names the draw.

    A draw is a function of (the row's key, the path, the method's name) alone: row i of ``rng.normal(like)`` has the
    same bits whatever the other rows, the device (where torch runs operation by operation) and the calls before.
    *The same call at the same path gives the same numbers*: use ``rng.at(tag)`` for each draw. Different methods at
    one path are independent. Draws are made in float64, then rounded to the dtype, so float32 and float64 agree up to
    rounding. Element k of an event (row-major) does not depend on the event's size: padding the first event dimension
    changes nothing. An empty batch gives empty draws.

    A draw costs the device no synchronisation. It is made on the device of ``like`` (on the CPU for devices without
    float64); keys that lie elsewhere are copied.
    """

    keys: Tensor = attrs.field(validator=_keys)
    path: tuple[int | str, ...] = attrs.field(default=(), converter=_path)

    @classmethod
    def of(cls, seed: int, n: int, *, device: torch.device | str = "cpu", start: int = 0) -> Rng:
        """n streams of a seed in [0, 2**64). Stream i of them is stream ``start + i`` of the seed, whatever n.

        Its key is the first 64 bits of Philox(key = seed, counter = start + i): seeds share no streams (two of n
        random keys are equal with probability below ``n**2 / 2**65``).
        """
        seed, n = _integer(seed, "a seed", 0, 2**64), _integer(n, "the number of streams", 0, 2**31)
        start = _integer(start, "start", 0, 2**62)
        if n <= 16:
            words = [philox_integers(i, 0, seed & MASK, seed >> 32)[:2] for i in range(start, start + n)]
            return cls(torch.tensor(words, dtype=torch.int64, device="cpu").reshape(n, 2).to(device))
        key = torch.tensor([[seed & MASK, seed >> 32]], dtype=torch.int64, device="cpu")
        index = torch.arange(start, start + n, dtype=torch.int64, device="cpu")
        return cls(_as_keys(philox(index, 0, key)).to(device))

    @classmethod
    def from_seeds(cls, seeds: Sequence[int] | Tensor, device: torch.device | str | None = None) -> Rng:
        """One stream for each seed in [0, 2**64); a tensor's int64 values are taken as 64 bits.

        These streams differ from those of ``of``.
        """
        if isinstance(seeds, Tensor):
            if seeds.ndim != 1 or seeds.dtype.is_floating_point or seeds.dtype.is_complex:
                raise InvalidInput(f"seeds must be integers (batch,), got {seeds.dtype} {tuple(seeds.shape)}")
            words = seeds.to(torch.int64)
            key = torch.stack([words & MASK, (words >> 32) & MASK], dim=1)
        else:
            checked = [_integer(s, "a seed", 0, 2**64) for s in seeds]
            pairs = [(s & MASK, s >> 32) for s in checked]
            key = torch.tensor(pairs, dtype=torch.int64, device="cpu").reshape(-1, 2)
        rng = cls(_as_keys(philox(torch.zeros(1, dtype=torch.int64, device=key.device), 1, key)))
        return rng if device is None else rng.to(device)

    @property
    def size(self) -> int:
        """The number of rows, B."""
        return self.keys.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the keys are."""
        return self.keys.device

    def to(self, device: torch.device | str) -> Rng:
        """The same streams, kept on this device."""
        return Rng(self.keys.to(device), self.path)

    def at(self, *path: int | str) -> Rng:
        """The streams of a longer path: a step's number, a tag, a leaf's name. Costs no tensor work."""
        longer = object.__new__(Rng)  # the keys and the path so far have been checked
        object.__setattr__(longer, "keys", self.keys)
        object.__setattr__(longer, "path", self.path + _path(path))
        return longer

    def index(self, rows: slice | Tensor | Sequence[int]) -> Rng:
        """Rows by slice, integer tensor ``(n,)`` or boolean mask ``(B,)``; each keeps its stream.

        Raises ``InvalidInput`` for rows that are not there (integers on an accelerator are not checked).
        """
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, device=self.device)
            if rows.ndim != 1 or (rows.dtype.is_floating_point and len(rows)):
                raise InvalidInput(f"rows must be integers (n,) or a mask, got {rows.dtype} {tuple(rows.shape)}")
            rows = rows if rows.dtype == torch.bool else rows.to(torch.int64)
        try:
            return Rng(self.keys[rows], self.path)
        except (IndexError, ValueError) as error:
            raise InvalidInput(f"these rows do not fit a batch of {self.size}: {error}") from error

    @staticmethod
    def cat(parts: Sequence[Rng]) -> Rng:
        """The rows of several, which must be at one path."""
        if len({p.path for p in parts}) != 1:
            raise InvalidInput(f"only streams at one path can be joined, got {[p.path for p in parts]}")
        return Rng(torch.cat([p.keys.to(parts[0].device) for p in parts]), parts[0].path)

    def repeat(self, k: int) -> Rng:
        """k new streams for each row, different from one another and from the row's own.

        Rows are ordered as by ``Tensor.repeat``: stream j of row b is row ``j B + b``. Stream j does not depend on k.
        For the *same* noise in each copy use ``Rng.cat([rng] * k)``.
        """
        index = torch.arange(_integer(k, "the number of repeats", 0, 2**31), dtype=torch.int64, device=self.device)
        w0, w1, _, _ = philox(index, _tag(self.path, "repeat"), self.keys)
        return Rng(torch.stack([w0.T.flatten(), w1.T.flatten()], dim=1), self.path)

    def pool(self) -> Rng:
        """One row that depends on all rows, whatever their order: for draws that belong to the batch as a whole.

        Resampling of particles, a shuffle. By its nature it changes with the batch.
        """
        zero = torch.zeros(1, dtype=torch.int64, device=self.device)
        words = _as_keys(philox(zero, _tag(self.path, "pool"), self.keys))
        return Rng(words.sum(0, keepdim=True).bitwise_and_(MASK), self.path)

    def seed(self) -> int:
        """A seed in [0, 2**63) from ``pool``, for libraries with generators of their own. Waits for the device."""
        return int(self.pool()._draw("seed", (1, 1), torch.int64, self.device, _single(_word63)))

    def normal(self, like: Tensor) -> Tensor:
        """Standard normals with the shape, dtype and device of ``like`` ``(B, *event)``; at most 8.57 in size.

        Raises ``InvalidInput`` if the batch is not B or the dtype is not a real floating one.
        """
        return self._float("normal", like, normal)

    def uniform(self, like: Tensor, *, open_interval: bool = False) -> Tensor:
        """Uniform on [0, 1), on the grid of ``2**-p`` where p is the dtype's precision in bits: never 1.

        With ``open_interval`` never 0 either, and else the same numbers up to one step of the grid. Shapes and errors
        as for ``normal``.
        """
        self._check(like)
        bits = 1 - round(math.log2(torch.finfo(like.dtype).eps))
        make = _single(lambda high, low: fraction(high, low, bits, inside=open_interval))
        return self._draw("uniform", like.shape, like.dtype, like.device, make)

    def exponential(self, like: Tensor) -> Tensor:
        """Standard exponentials, ``-log u``; shapes and errors as for ``normal``."""
        return self._float("exponential", like, _single(exponential))

    def gumbel(self, like: Tensor) -> Tensor:
        """Standard Gumbels, ``-log(-log u)``; shapes and errors as for ``normal``."""
        return self._float("gumbel", like, _single(lambda high, low: log(exponential(high, low)).neg_()))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Uniform integers in [low, high), int64 ``(B, *shape)``, for ``1 <= high - low <= 2**32``.

        By multiplication and shift of 64 bits: a value's probability is off by less than ``2**-64``, so by less than
        ``2**-32`` of itself.
        """
        low = _integer(low, "low", -(2**63), 2**63)
        span = _integer(high, "high", low + 1, min(low + 2**32 + 1, 2**63)) - low
        make = _single(lambda a, b: scaled(a, b, span).add_(low))
        event = [_integer(n, "a size", 0, 2**63) for n in shape]
        return self._draw("integers", (self.size, *event), torch.int64, self.device, make)

    def permutation(self, n: int) -> Tensor:
        """A permutation of 0 ... n - 1 for each row, int64 ``(B, n)``; for the whole batch, ask its ``pool``."""
        n = _integer(n, "the length of a permutation", 0, 2**31)
        ranks = self._draw("permutation", (self.size, n), torch.int64, self.device, _single(_word63))
        return ranks.argsort(dim=1, stable=True)

    def categorical(self, logits: Tensor, dim: int = -1) -> Tensor:
        """Indices along ``dim`` drawn with probabilities ``softmax(logits, dim)``: int64, that dimension removed.

        The inverse of the cumulative distribution, in float64 and with one uniform a draw. Gumbel noise in float32 is
        cut off and lowers the temperature: Zheng et al., "Masked diffusion models are secretly time-agnostic masked
        models and exploit inaccurate categorical sampling" (2024, arXiv:2409.02908). A logit of -inf is never drawn.
        Raises ``InvalidInput`` as ``normal`` does, and, on the CPU, for a NaN, +inf, or all logits -inf; elsewhere that
        would wait for the device, and the index is one past the end.
        """
        self._check(logits)
        axis = dim + logits.ndim if dim < 0 else dim
        if not 0 < axis < logits.ndim or not logits.shape[axis]:
            raise InvalidInput(
                f"dim must name a dimension after the batch, not empty: got {dim} for shape {tuple(logits.shape)}"
            )
        device = _float64(logits.device)
        p = logits.detach().to(device, torch.float64).movedim(axis, -1).contiguous()
        p = (p - p.amax(-1, keepdim=True)).exp_().cumsum(-1)
        total = p[..., -1]
        if device.type == "cpu" and not bool(total.isfinite().all()):
            raise InvalidInput("logits must have no NaN and no +inf, and one that is finite in every row")
        make = _single(lambda high, low: fraction(high, low, 53))
        u = self._draw("categorical", total.shape, torch.float64, device, make)
        return torch.searchsorted(p, (u * total).unsqueeze(-1), right=True).squeeze(-1).to(logits.device)

    def _check(self, like: Tensor) -> None:
        if not like.ndim or like.shape[0] != self.size:
            raise InvalidInput(f"this rng has {self.size} rows, got a tensor of shape {tuple(like.shape)}")
        if not like.dtype.is_floating_point:
            raise InvalidInput(f"expected a real floating dtype, got {like.dtype}")

    def _float(self, method: str, like: Tensor, make: _Make) -> Tensor:
        self._check(like)
        return self._draw(method, like.shape, like.dtype, like.device, make)

    def _draw(
        self, method: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, make: _Make
    ) -> Tensor:
        """Elements 2 j and 2 j + 1 of row b are the pair that ``make`` gives for block j of key b."""
        home, tag = _float64(device), _tag(self.path, method)
        keys, rows, n = self.keys.to(home), shape[0], math.prod(shape[1:])
        blocks = (n + 1) // 2
        out = torch.empty((rows, blocks, 2), dtype=dtype, device=home)
        # By tiles, which change no bits: a core's cache holds the buffers of 2**15 blocks, a device need not hold all.
        tile = 2**15 * torch.get_num_threads() if home.type == "cpu" else 2**22
        height = max(1, tile // max(1, blocks))
        for j in range(0, blocks, tile):
            index = torch.arange(j, min(j + tile, blocks), dtype=torch.int64, device=home)
            for i in range(0, rows, height):
                x, y = make(*philox(index, tag, keys[i : i + height]))
                part = out[i : i + height, j : j + tile]
                part[..., 0], part[..., 1] = x, y
        return out.view(rows, 2 * blocks)[:, :n].reshape(shape).contiguous().to(device)
