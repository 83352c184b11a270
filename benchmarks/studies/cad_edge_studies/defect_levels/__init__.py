"""Logical and local defects: how many are found, and whether the level named is right."""
