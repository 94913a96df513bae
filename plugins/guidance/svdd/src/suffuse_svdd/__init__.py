"""Soft value-based decoding: guidance without gradients (Li et al., 2024, arXiv:2408.08252)."""
