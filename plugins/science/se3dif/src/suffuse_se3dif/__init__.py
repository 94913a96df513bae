"""Diffusion of poses: maths of SO(3) and SE(3), energies on the group, annealed Langevin dynamics, joint planning."""
