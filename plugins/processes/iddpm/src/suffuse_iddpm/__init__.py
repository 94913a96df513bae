"""Improved Denoising Diffusion Probabilistic Models (Nichol and Dhariwal 2021, arXiv:2102.09672): learned variances."""
