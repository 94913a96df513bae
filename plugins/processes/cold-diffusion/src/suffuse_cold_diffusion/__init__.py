"""Cold Diffusion: Inverting Arbitrary Image Transforms Without Noise (Bansal et al., 2022, arXiv:2208.09392)."""
