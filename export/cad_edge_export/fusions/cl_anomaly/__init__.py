"""Fusion of `cl_anomaly` and the graphs that are its own."""

from cad_edge_export.fusions.cl_anomaly.fusion import FUSION

__all__ = ["FUSION"]
