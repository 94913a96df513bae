"""The published sizes."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PRESETS"]

_SIZES = {
    "S": {"width": 384, "depth": 12, "heads": 6},
    "B": {"width": 768, "depth": 12, "heads": 12},
    "L": {"width": 1024, "depth": 24, "heads": 16},
    "XL": {"width": 1152, "depth": 28, "heads": 16},
}

# Settings of ``DiT`` by name: ``DiT(**PRESETS["XL/2"], classes=1000, out_channels=8)``. Table 1 of the paper.
PRESETS: Mapping[str, Mapping[str, int]] = {
    f"{name}/{patch}": {**size, "patch": patch} for name, size in _SIZES.items() for patch in (2, 4, 8)
}
