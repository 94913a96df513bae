"""DPM-Solver++ (Lu et al., 2022, arXiv:2211.01095)."""
