"""A residual MLP whose noise level enters by random Fourier features (Tancik et al., 2020, arXiv:2006.10739)."""
