"""What the parts of `suffuse` promise one another."""
