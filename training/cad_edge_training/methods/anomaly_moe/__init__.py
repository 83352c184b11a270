"""AnomalyMoE: experts for patches, components and the whole, and which of them say what."""
