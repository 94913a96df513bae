"""Graphs: their space, conversion, benchmark data sets and the statistics they are judged by."""
