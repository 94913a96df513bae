"""Handwritten digits, 8x8: a data set, a classifier, metrics, recipes and the weights that they give."""
