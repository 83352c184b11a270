"""Continual protocols: streams of steps, measured after every one, with baselines beside them."""
