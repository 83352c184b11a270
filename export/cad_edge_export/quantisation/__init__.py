"""Eight-bit graphs: measured ranges, placed quantisers, layers that stay in float, and evidence."""
