"""Score Jacobian Chaining: Lifting Pretrained 2D Diffusion Models for 3D Generation (2023, arXiv:2212.00774)."""
