"""Wasserstein GAN, and what generative adversarial networks share: latents, small networks, penalties, distances."""
