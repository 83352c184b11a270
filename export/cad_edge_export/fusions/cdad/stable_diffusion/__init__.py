"""Graphs of the published form of CDAD, on Stable Diffusion 1.5."""
