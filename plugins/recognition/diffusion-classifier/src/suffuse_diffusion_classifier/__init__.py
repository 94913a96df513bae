"""Your Diffusion Model is Secretly a Zero-Shot Classifier (2023, arXiv:2303.16203)."""
