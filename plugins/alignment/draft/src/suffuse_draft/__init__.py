"""Directly fine-tuning diffusion models on differentiable rewards (Clark et al., 2023, arXiv:2309.17400)."""
