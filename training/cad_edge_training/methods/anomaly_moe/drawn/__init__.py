"""The experts as published: drawn weights, learned by gradient (arXiv 2508.06203)."""
