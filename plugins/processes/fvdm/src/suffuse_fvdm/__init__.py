"""One noise level per frame (Liu et al., Redefining Temporal Modeling in Video Diffusion, 2024, arXiv:2410.03160)."""
