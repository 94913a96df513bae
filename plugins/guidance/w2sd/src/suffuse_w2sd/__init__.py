"""Weak-to-Strong Diffusion with Reflection (2025, arXiv:2502.00473)."""
