"""CDAD ("One-for-More"): one conditional diffusion model that learns product after product."""
