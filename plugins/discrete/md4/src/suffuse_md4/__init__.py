"""MD4 and GenMD4: masked diffusion of tokens (Shi et al. 2024, arXiv:2406.04329)."""
