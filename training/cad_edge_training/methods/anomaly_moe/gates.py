"""Gates: which experts look at an image, and with what weight."""

import torch
from torch import Tensor

from cad_edge_training.methods.anomaly_moe.config import LEVELS, Config


def gates(logits: Tensor, config: Config) -> Tensor:
    """Weights of all experts, exactly 0 for those that are not chosen.

    With `routing="top_k"` the best `top_k` of all experts share the weight by a softmax over their
    logits, as published. With `routing="per_level"` the best of each level do. Of equal logits the
    lowest index is chosen. Plain operators alone, so exporting it needs no `If` and no `NonZero`.

    Parameters
    ----------
    logits
        (n, 3·experts) float, the levels in the order of `LEVELS`. Minus infinity keeps an expert
        from being chosen, as long as enough others are left.

    Returns
    -------
    Tensor
        (n, 3·experts), rows sum to 1.

    Examples
    --------
    >>> config = Config(groups=("2",), experts=2, top_k=2)
    >>> gates(torch.tensor([[2.0, 1.0, 0.0, 0.0, 0.0, 0.0]]), config)
    tensor([[0.7311, 0.2689, 0.0000, 0.0000, 0.0000, 0.0000]])
    """
    mask = _ranks(_by_choice(logits, config)) < _chosen_of_row(logits, config)
    mask = mask.reshape(logits.shape)
    # A chosen logit is the largest of all, so the sum is never below 1.
    largest = logits.detach().amax(dim=-1, keepdim=True)
    weights = (logits - largest).exp() * mask.to(logits.dtype)
    return weights / weights.sum(dim=-1, keepdim=True)


def chosen(logits: Tensor, config: Config) -> Tensor:
    """Return who is chosen, (n, k) int64: best first, or one of each level in their order.

    For image routing, which gathers the weights of these experts alone.
    """
    rows = _by_choice(logits, config)
    # Ranks have no ties, so every TopK finds the same.
    found = torch.topk(_ranks(rows), _chosen_of_row(logits, config), dim=-1, largest=False).indices
    if config.routing == "top_k":
        return found.reshape(logits.shape[0], -1)
    first = torch.arange(len(LEVELS), device=logits.device) * (logits.shape[-1] // len(LEVELS))
    return found.reshape(logits.shape[0], len(LEVELS)) + first


def level_gates(weights: Tensor) -> Tensor:
    """Weight (n, 3) of each level, the sum over its experts, of `gates` (n, 3·experts)."""
    return weights.reshape(weights.shape[0], len(LEVELS), -1).sum(dim=-1)


def _by_choice(logits: Tensor, config: Config) -> Tensor:
    """Logits (n, choices, experts to choose from)."""
    choices = 1 if config.routing == "top_k" else len(LEVELS)
    return logits.reshape(logits.shape[0], choices, logits.shape[-1] // choices)


def _chosen_of_row(logits: Tensor, config: Config) -> int:
    return min(config.top_k, logits.shape[-1]) if config.routing == "top_k" else 1


def _ranks(rows: Tensor) -> Tensor:
    """How many come before each along the last axis: larger ones, and equal ones to the left.

    Counted and not sorted, since `torch.topk` gives equal values in any order; in float32 and
    without And and Or, which engines do not have.
    """
    count = rows.shape[-1]
    this, other = rows.unsqueeze(-1), rows.unsqueeze(-2)
    left = torch.ones(count, count, device=rows.device).tril(-1)
    return ((other > this).float() + (other == this).float() * left).sum(dim=-1)
