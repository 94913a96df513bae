"""Denoising Diffusion Implicit Models (Song, Meng, Ermon, 2021, arXiv:2010.02502)."""
