"""Diffusion samplers of unnormalised densities, trained off-policy (Sendera et al., 2024, arXiv:2402.05098)."""
