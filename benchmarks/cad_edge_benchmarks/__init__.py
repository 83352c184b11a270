"""Measures bundles: accuracy, routing, forgetting, latency and memory."""
