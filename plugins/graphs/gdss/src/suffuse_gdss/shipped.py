"""Where the weights that come with this package are: a folder for ``suffuse.pipeline.Pipeline.load``."""

from pathlib import Path

__all__ = ["COMMUNITY_SMALL"]

COMMUNITY_SMALL = Path(__file__).parent / "weights" / "community-small"
