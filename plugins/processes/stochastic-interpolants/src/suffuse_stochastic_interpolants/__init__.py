"""Stochastic Interpolants: A Unifying Framework for Flows and Diffusions (Albergo et al., 2023, arXiv:2303.08797)."""
