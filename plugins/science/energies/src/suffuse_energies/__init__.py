"""Energy targets with known log Z and exact draws, and the estimates that samplers of them are judged by."""
