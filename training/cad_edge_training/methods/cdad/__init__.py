"""CDAD: continual diffusion with updates that leave older products alone (README.md)."""
