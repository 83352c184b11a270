"""Memory banks of patches of good parts, whitened, beside a Gaussian of the whole image."""
