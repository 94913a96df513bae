"""The first-hitting sampler, and the fault of float32 categorical draws (Zheng et al. 2024, arXiv:2409.02908)."""
