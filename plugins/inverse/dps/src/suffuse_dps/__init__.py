"""Diffusion Posterior Sampling for General Noisy Inverse Problems (Chung et al., 2022, arXiv:2209.14687)."""
