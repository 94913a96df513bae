"""A chart of quality against cost, as SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import attrs

__all__ = ["Point", "chart"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM, _RADIUS = 1040, 360, 64, 20, 38, 46, 11


@attrs.frozen(kw_only=True)
class Point:
    """One combination: its number in the table, its series, cost and quality (both positive)."""

    number: int
    series: str
    x: float
    y: float


def chart(points: Sequence[Point], *, x: str, y: str, floor: tuple[str, float] | None = None) -> str:
    """Points on logarithmic axes named ``x`` and ``y``, and the floor as a dashed line."""
    series = list(dict.fromkeys(p.series for p in points))
    across = _Axis.of([p.x for p in points], _LEFT, _WIDTH - _RIGHT)
    heights = [p.y for p in points] + ([floor[1]] if floor else [])
    up = _Axis.of(heights, _HEIGHT - _BOTTOM, _TOP)
    bottom = _HEIGHT - _BOTTOM
    parts = [
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(y)} against {escape(x)}">'
    ]
    for tick in up.ticks():
        at = up.at(tick)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 10}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in across.ticks():
        at = across.at(tick)
        parts.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{bottom + 40}" text-anchor="end">{escape(x)} →</text>')
    parts.append(f'<text class="axis" x="{_LEFT - 42}" y="16">{escape(y)}</text>')
    if floor:
        at = up.at(floor[1])
        parts.append(f'<line class="floor" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(
            f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{at - 7:.1f}" text-anchor="end">{escape(floor[0])}</text>'
        )
    for p, (a, b) in zip(points, _apart([(across.at(p.x), up.at(p.y)) for p in points]), strict=True):
        parts.append(
            f'<g class="point s{series.index(p.series) % 4}"><circle cx="{a:.1f}" cy="{b:.1f}" r="{_RADIUS}"/>'
            f'<text x="{a:.1f}" y="{b + 4:.1f}" text-anchor="middle">{p.number}</text></g>'
        )
    at = _LEFT + 8.0
    for i, name in enumerate(series if len(series) > 1 else ()):
        parts.append(
            f'<g class="point s{i % 4}"><circle cx="{at + 6:.0f}" cy="{_HEIGHT - 10}" r="6"/></g>'
            f'<text class="axis" x="{at + 18:.0f}" y="{_HEIGHT - 6}">{escape(name)}</text>'
        )
        at += 44 + 7.5 * len(name)
    return "".join([*parts, "</svg>"])


@attrs.frozen
class _Axis:
    """A logarithmic axis from ``low`` to ``high``, drawn from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float

    @classmethod
    def of(cls, values: Sequence[float], begin: float, end: float) -> _Axis:
        return cls(min(values) / 1.3, max(values) * 1.3, begin, end)

    def at(self, value: float) -> float:
        return self.begin + math.log(value / self.low) / math.log(self.high / self.low) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        """Round values, the more of each power of ten the fewer powers there are."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ratio = self.high / self.low
        steps: tuple[float, ...] = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if ratio < 6 else (1, 2, 5) if ratio < 2000 else (1,)
        return [v for k in powers for m in steps if self.low <= (v := float(f"{m}e{k}")) <= self.high]


def _apart(spots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spots, those that would hide another moved sideways by as little as shows both."""
    placed: list[tuple[float, float]] = []
    for a, b in spots:
        shift = 0.0
        for k in range(1, 40):
            if all(math.hypot(a + shift - c, b - d) >= 2 * _RADIUS for c, d in placed):
                break
            shift = (1 if k % 2 else -1) * math.ceil(k / 2) * 6.0
        placed.append((a + shift, b))
    return placed
