"""CDAD: continual diffusion whose updates avoid the input directions of old products."""
