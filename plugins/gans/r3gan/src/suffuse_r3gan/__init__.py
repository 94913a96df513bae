"""R3GAN: a relativistic pairing loss with two zero-centred penalties, and networks without tricks."""
