"""The keys of the plugins that suffuse's authors publish, installed or not."""

import functools
from importlib.resources import files


@functools.cache
def known() -> frozenset[str]:
    """The keys in the shipped ``catalogue.txt``: only these may appear in an install line."""
    return frozenset(files("suffuse").joinpath("catalogue.txt").read_text(encoding="utf-8").split())
