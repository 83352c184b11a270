"""IB-IUMAD: incremental unified multimodal anomaly detection with Mamba and a bottleneck."""
