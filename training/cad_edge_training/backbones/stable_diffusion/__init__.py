"""Stable Diffusion 1.5 as a backbone: its autoencoder, its U-Net and a network that scores."""
