"""Neural Diffusion Models (Bartosh, Vetrov and Naesseth, 2023, arXiv:2310.08337)."""
