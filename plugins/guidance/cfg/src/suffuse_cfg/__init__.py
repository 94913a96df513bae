"""Classifier-free guidance (Ho and Salimans, 2022, arXiv:2207.12598): ``guidance.Cfg`` and ``objective.Drop``."""
