"""Progressive Distillation for Fast Sampling of Diffusion Models (Salimans and Ho, 2022, arXiv:2202.00512)."""
