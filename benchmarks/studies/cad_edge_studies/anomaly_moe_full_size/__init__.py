"""AnomalyMoE at the dimensions of DINOv2-B: README.md."""
