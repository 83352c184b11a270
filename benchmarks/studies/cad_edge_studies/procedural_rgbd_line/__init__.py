"""A procedural line with depth: parts that are height fields, under a camera and a depth sensor.

Everything is drawn from seeds: equal seeds give equal bytes. What a defect shows in, image, depth
or both, is known, and where it is follows from rendering the same part without it.
"""
