"""GDSS: graphs from a system of two stochastic differential equations, on nodes and on edges."""
