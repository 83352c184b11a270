"""CL-Anomaly at the dimensions of LLaVA-OneVision-0.5B, beside transformers, with random weights.

Time and memory do not depend on what weights say, so none are downloaded.
"""
