"""Fusion of `cdad` and the graphs that are its own."""

from cad_edge_export.fusions.cdad.fusion import FUSION

__all__ = ["FUSION"]
