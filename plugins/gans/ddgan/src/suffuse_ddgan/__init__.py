"""Denoising diffusion GANs (Xiao et al., 2022, arXiv:2112.07804)."""
