"""Weights that CDAD starts from, learned on drawn surfaces and parts: README.md."""
