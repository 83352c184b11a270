"""Fusion of `anomaly_moe`: its head, the tensors it takes, and image routing."""

from cad_edge_export.fusions.anomaly_moe.fusion import FUSION

__all__ = ["FUSION"]
