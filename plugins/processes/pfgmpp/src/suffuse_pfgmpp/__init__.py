"""PFGM++: Unlocking the Potential of Physics-Inspired Generative Models (Xu et al., 2023, arXiv:2302.04265)."""
