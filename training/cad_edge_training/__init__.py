"""Workstation side of cad-edge: learns products from images of good parts, writes artifacts."""
