"""Fusion of `ib_iumad` and the graphs that are its own."""

from cad_edge_export.fusions.ib_iumad.fusion import FUSION

__all__ = ["FUSION"]
