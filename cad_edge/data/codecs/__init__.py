"""Codecs: one module for each image format, from a file's bytes to its samples."""
