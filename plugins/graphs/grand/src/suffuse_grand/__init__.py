"""GRAND: Graph Neural Diffusion (Chamberlain et al., 2021, arXiv:2106.10934)."""
