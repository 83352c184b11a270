"""Levels and losses of AnomalyMoE left out one by one: README.md."""
