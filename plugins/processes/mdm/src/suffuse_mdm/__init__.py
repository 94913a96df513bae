"""Where to Diffuse, How to Diffuse, and How to Get Back (Singhal et al., 2023, arXiv:2302.07261)."""
