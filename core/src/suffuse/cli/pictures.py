"""Pictures of samples: a grid of images, or a scatter of points in the plane."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["columns_for", "drawable", "enlarged", "grid", "picture", "png", "scatter"]

_TILE = 56  # pixels: a smaller image is enlarged at least to this
_GAP = 4
# Ten colours that stay apart in light, in dark, and for most colour-blind readers.
_COLOURS = (
    (0x3B, 0x82, 0xC4), (0xE6, 0x8A, 0x2E), (0x2F, 0x9E, 0x6E), (0xC8, 0x4B, 0x57), (0x8A, 0x6B, 0xBF),
    (0x8C, 0x6D, 0x5A), (0xD9, 0x77, 0xA8), (0x7A, 0x85, 0x90), (0xA9, 0xA1, 0x2C), (0x2A, 0xA8, 0xB8),
)  # fmt: skip


def drawable(x: object) -> bool:
    """Whether ``picture`` can show these samples: images of one or three channels, or points in the plane."""
    if not isinstance(x, Tensor):
        return False
    return (x.ndim == 4 and x.shape[1] in (1, 3)) or (x.ndim == 2 and x.shape[1] == 2)


def picture(x: Tensor, *, low: float, high: float, columns: int, labels: Sequence[int] | None = None) -> Image:
    """Images ``(B, C, H, W)`` with values from ``low`` (black) to ``high``, or points ``(B, 2)``."""
    return grid(x, low=low, high=high, columns=columns) if x.ndim == 4 else scatter(x, labels)


def columns_for(n: int, labels: Sequence[int] | None = None) -> int:
    """As many columns as labels where they come in turn, so that a column is a class; else a little wider than high."""
    if labels:
        period = next((k for k in range(2, min(n, 20) + 1) if list(labels[:k]) * 2 == list(labels[: 2 * k])), 0)
        if period or (n <= 20 and len(set(labels)) == n):
            return period or n
    wide = math.ceil(math.sqrt(1.6 * n))
    return next((k for k in range(wide, min(n, wide + 3) + 1) if n % k == 0), min(n, wide))


def grid(x: Tensor, *, low: float, high: float, columns: int) -> Image:
    """Images in rows of ``columns``, tiny ones enlarged without smoothing, on a transparent ground."""
    import PIL.Image

    x = (x.detach().cpu().double() - low) / max(high - low, 1e-12)
    tiles = (x.nan_to_num().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    height, width = tiles.shape[1:3]
    scale = max(1, math.ceil(_TILE / max(height, width)))
    down, across = height * scale + _GAP, width * scale + _GAP
    rows = math.ceil(len(tiles) / columns)
    sheet = PIL.Image.new("RGBA", (columns * across - _GAP, rows * down - _GAP), (0, 0, 0, 0))
    for i, tile in enumerate(tiles.numpy()):
        one = PIL.Image.fromarray(tile.squeeze(-1) if tile.shape[-1] == 1 else tile).convert("RGBA")
        one = one.resize((width * scale, height * scale), PIL.Image.Resampling.NEAREST)
        sheet.paste(one, (i % columns * across, i // columns * down))
    return sheet


def enlarged(x: Tensor, *, side: int = 720) -> Image:
    """One picture ``(C, H, W)`` in [0, 1], a tiny one enlarged without smoothing to about ``side`` pixels."""
    import PIL.Image

    image = grid(x[None], low=0.0, high=1.0, columns=1)
    times = side // max(image.size)
    return (
        image.resize((image.width * times, image.height * times), PIL.Image.Resampling.NEAREST) if times > 1 else image
    )


def scatter(x: Tensor, labels: Sequence[int] | None = None, *, side: int = 480) -> Image:
    """Points ``(B, 2)`` with equal scales on both axes, coloured by label; the corners say where they lie."""
    import PIL.Image
    from PIL import ImageDraw, ImageFont

    points = x.detach().cpu().double().nan_to_num()
    centre = (points.amax(0) + points.amin(0)) / 2
    half = max(float((points - centre).abs().max()) * 1.06, 1e-6)
    big, margin = 3 * side, 9  # drawn large, then reduced: smooth edges
    sheet = PIL.Image.new("RGBA", (big, big), (0, 0, 0, 0))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((margin, margin, big - margin, big - margin), outline=(128, 128, 128, 160), width=3)
    spot = max(4.0, min(14.0, 300 / math.sqrt(len(points))))
    for i, (u, v) in enumerate(((points - centre) / half * (big / 2 - 2 * margin)).tolist()):
        colour = _COLOURS[labels[i] % len(_COLOURS) if labels else 0]
        a, b = big / 2 + u, big / 2 - v
        draw.ellipse((a - spot, b - spot, a + spot, b + spot), fill=(*colour, 200))
    font = ImageFont.load_default(36)
    low, high = (centre - half).tolist(), (centre + half).tolist()
    draw.text((30, big - 60), f"({low[0]:.3g}, {low[1]:.3g})", fill=(128, 128, 128, 255), font=font)
    draw.text((big - 30, 24), f"({high[0]:.3g}, {high[1]:.3g})", fill=(128, 128, 128, 255), font=font, anchor="ra")
    return sheet.resize((side, side), PIL.Image.Resampling.LANCZOS)


def png(image: Image) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
