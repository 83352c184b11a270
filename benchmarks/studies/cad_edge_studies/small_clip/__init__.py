"""A small CLIP that learns from drawn scenes with captions; see README.md."""
