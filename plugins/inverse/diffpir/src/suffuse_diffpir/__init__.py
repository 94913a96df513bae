"""Denoising Diffusion Models for Plug-and-Play Image Restoration (Zhu et al., 2023, arXiv:2305.08995)."""
