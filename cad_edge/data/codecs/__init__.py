"""Codecs: one module for each image format, from a file's bytes to its samples."""

import logging

# What is wrong with a file is said once, by an error; what is only odd about it, by nobody. Without
# a handler the remarks of libpng and others go to stderr.
logging.getLogger("imagecodecs").addHandler(logging.NullHandler())
