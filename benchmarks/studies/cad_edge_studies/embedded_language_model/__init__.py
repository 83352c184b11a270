"""How the embedded language model is made: procedural images, questions about them, pre-training.

Everything is drawn from seeds: equal seeds give equal images and questions, and on one
machine equal weights.
"""
