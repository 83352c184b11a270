"""Expert selection balance, ESB: that experts share the images."""

import torch
from torch import Tensor


def importance(weights: Tensor) -> Tensor:
    """Scalar N Σ P_j², P the mean weight of each expert: 1 when all share alike, N for one alone.

    Over the full softmax, as released, so that experts that were not chosen learn of it too; the
    paper has the sparse gates.

    Parameters
    ----------
    weights
        (n, N), rows sum to 1.
    """
    return weights.shape[-1] * weights.mean(dim=0).square().sum()


def load(gates: Tensor) -> float:
    """Σ relu(C_j - capacity)², C the images of each expert, capacity 4 n / N as released.

    A count, which has no gradient, in the paper and as released too: a figure for the report.

    Parameters
    ----------
    gates
        (n, N), exactly 0 for experts that are not chosen.
    """
    images, experts = gates.shape
    count = (gates > 0).sum(dim=0).to(torch.float64)
    return float((count - 4 * images / experts).clamp(min=0).square().sum())


def z_loss(logits: Tensor) -> Tensor:
    """Mean square of the logits (n, N), as released; the paper has the sum over experts."""
    return logits.square().mean()


def balance_loss(logits: Tensor) -> Tensor:
    """Sum what ESB teaches the router of logits (n, N): importance and z; the load teaches none."""
    return importance(logits.softmax(dim=-1)) + z_loss(logits)
