"""Denoising Diffusion Autoencoders are Unified Self-supervised Learners (2023, arXiv:2303.09769)."""
