"""Where the weights that come with this package are: folders for ``suffuse.pipeline.Pipeline.load``."""

from pathlib import Path

__all__ = ["DDPM", "EDM"]

DDPM = Path(__file__).parent / "weights" / "ddpm"
EDM = Path(__file__).parent / "weights" / "edm"
