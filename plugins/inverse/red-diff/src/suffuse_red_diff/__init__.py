"""RED-diff: A Variational Perspective on Solving Inverse Problems with Diffusion Models (2023, arXiv:2305.04391)."""
