"""Exported engines beside torch, for any method: `python -m` this package."""
