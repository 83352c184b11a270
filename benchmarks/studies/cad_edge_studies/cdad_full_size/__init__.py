"""CDAD at the dimensions of Stable Diffusion 1.5: README.md."""
