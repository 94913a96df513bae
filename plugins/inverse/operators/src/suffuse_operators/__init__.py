"""Measurement operators of inverse problems, their noise, and how restorations are judged."""
