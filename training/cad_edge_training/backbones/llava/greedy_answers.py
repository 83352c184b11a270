"""Greedy answers of a language model, by which forms of its decoder are compared."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class GreedyAnswers:
    """Greedy answers about some images."""

    tokens: Tensor
    """(batch, count) int64."""
    logits: Tensor
    """(batch, count, vocabulary) float32 that every token is the largest of."""
