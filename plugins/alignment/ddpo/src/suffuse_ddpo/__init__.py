"""Denoising diffusion policy optimization (Black et al., 2023, arXiv:2305.13301)."""
