"""Anchors, and the weights of private experts that they give an image (CL-Anomaly Eq. 3-4).

    a_t = mean over the images of task t of the mean over their tower tokens
    mu  = softmax(cos(mean of the image's tokens, a_t) / tau)

over the learned tasks only; of several views of a sample, all tokens are one image's. Eq. 4 has no
temperature; cosines of such means lie so close together that the paper's own figure needs
tau = 0.1, as the code that it builds on has (METHODS 1.3). The released code counts images in
bfloat16, where adding one stalls at 256; here sums are float64.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Routing = Literal["soft", "hard", "selector"]


@dataclass(frozen=True)
class AnchorSum:
    """What an anchor is made of; sums of parts can be added in any order."""

    total: Tensor
    """(width,) float64, sum over images of the mean of their tokens."""
    count: int
    """Images in it."""

    @staticmethod
    def empty(width: int) -> "AnchorSum":
        """Return the sum over no image."""
        return AnchorSum(torch.zeros(width, dtype=torch.float64), 0)

    def add(self, raw: Tensor) -> "AnchorSum":
        """Add images by their tower tokens ``raw`` (batch, [views,] tokens, width)."""
        means = raw.detach().cpu().double().flatten(1, -2).mean(dim=1)
        return AnchorSum(self.total + means.sum(dim=0), self.count + len(means))

    def merge(self, other: "AnchorSum") -> "AnchorSum":
        """Join with the sum over other images."""
        return AnchorSum(self.total + other.total, self.count + other.count)

    def mean(self) -> Tensor:
        """Return the anchor (width,) float32 of at least one image."""
        return (self.total / self.count).float()


def similarities(raw: Tensor, anchors: Tensor) -> Tensor:
    """Compare images with anchors.

    Parameters
    ----------
    raw
        (batch, [views,] n_tokens, width) float, tower tokens.
    anchors
        (n_tasks, width) float32.

    Returns
    -------
    Tensor
        (batch, n_tasks) float32 cosines.
    """
    pooled = raw.float().flatten(1, -2).mean(dim=1)
    return functional.normalize(pooled, dim=-1) @ functional.normalize(anchors, dim=-1).T


def gate_weights(cosines: Tensor, routing: Routing, tau: float, chosen: int) -> Tensor:
    """Weights mu of the private experts.

    Parameters
    ----------
    cosines
        (batch, n_tasks) float32.
    routing
        ``soft``: Eq. 4 with a temperature; ``hard``: the most similar task alone; ``selector``: the
        task ``chosen`` alone, which is what the house's selector recognised.
    tau
        Temperature of the soft form.
    chosen
        Place of a task.

    Returns
    -------
    Tensor
        (batch, n_tasks) float32, each row of sum 1.
    """
    if routing == "soft":
        return torch.softmax(cosines / tau, dim=-1)
    best = cosines.argmax(dim=-1) if routing == "hard" else torch.full_like(cosines[:, 0], chosen)
    return functional.one_hot(best.long(), cosines.shape[1]).float()
