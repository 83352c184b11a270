"""CL-Anomaly against its rivals and its own ablations, on real images: `python -m` this package."""
