"""A language model written out for export: experts, decoder, tower, and the loop that explains."""
