"""UCAD's 1024-wide features as a metric on the backbone's own 768 channels (METHODS 2.1).

UCAD stores adaptive_avg_pool1d(x, 1024) of every patch. From 768 that turns each three inputs into
four outputs, x0, (x0 + x1) / 2, (x1 + x2) / 2, x2, without learned weights. Distances between such
vectors are distances under one 3x3 block, so the features times the block's Cholesky factor have
the same nearest neighbours and the same scores with a quarter less memory and work.
"""

import torch
from torch import Tensor
from torch.nn import functional

GROUP, POOLED_GROUP = 3, 4  # inputs and outputs of one period of the pooling from 768 to 1024


def block_metric() -> Tensor:
    """Metric (3, 3) float64: squared distance after pooling is d' M d per group of channels."""
    pool = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]], dtype=torch.float64)
    return pool.T @ pool


def compat_1024(features: Tensor) -> Tensor:
    """Features whose Euclidean distances are those of the pooled ones.

    Parameters
    ----------
    features
        (..., channels) float, channels a multiple of 3 (768 in CLIP ViT-B/16).

    Returns
    -------
    Tensor
        (..., channels), of the same dtype.

    Raises
    ------
    ValueError
        The number of channels is no multiple of 3.
    """
    channels = features.shape[-1]
    if channels % GROUP:
        raise ValueError(f"{channels} channels are no multiple of {GROUP}")
    factor = torch.linalg.cholesky(block_metric()).to(features)
    grouped = features.reshape(*features.shape[:-1], -1, GROUP)
    whitened: Tensor = (grouped @ factor).reshape(features.shape)
    return whitened


def pooled_1024(features: Tensor) -> Tensor:
    """Features (n, channels) as UCAD stores them, (n, channels / 3 * 4), to read foreign banks."""
    width = features.shape[-1] // GROUP * POOLED_GROUP
    pooled: Tensor = functional.adaptive_avg_pool1d(features, width)
    return pooled
