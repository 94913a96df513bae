"""The manifest."""

from suffuse.hooks import hookimpl
from suffuse.records import Component, Plugin

plugin = Plugin(paper=None)


@hookimpl
def suffuse_datasets() -> list[Component]:
    """The data."""
    return [Component(name="digits", target="suffuse_digits.dataset:Digits", summary="1797 handwritten digits, 8x8")]
