"""StableAdamW (Wortsman et al. 2023, arXiv 2304.13013)."""

from collections.abc import Iterable

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPS = 1e-10


class StableAdamW:
    """AdamW whose rate is lowered for a tensor where the update would be large.

    The rate of each tensor is divided by max(1, RMS), RMS² = mean(g² / max(v, eps²)) with the
    second moment v, as Algorithm 2 of the source; weight decay takes the lowered rate too. With
    amsgrad, betas and eps as AnomalyMoE was released. Tensors without a gradient keep their
    values, moments and count of updates, which an optimiser with one count for all does not: an
    expert that is first chosen late would begin with moments that are not corrected.

    Parameters
    ----------
    tensors
        What is learned.
    rate
        Learning rate; may be changed between updates.
    decay
        Decoupled weight decay.
    """

    def __init__(self, tensors: Iterable[Tensor], rate: float, decay: float) -> None:
        self.rate = rate
        self.decay = decay
        self._tensors = list(tensors)
        self._updates = [0] * len(self._tensors)
        self._first = [torch.zeros_like(one) for one in self._tensors]
        self._second = [torch.zeros_like(one) for one in self._tensors]
        self._largest = [torch.zeros_like(one) for one in self._tensors]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for one in self._tensors:
            one.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update every tensor that has a gradient."""
        for place, (tensor, first, second, largest) in enumerate(
            zip(self._tensors, self._first, self._second, self._largest, strict=True)
        ):
            gradient = tensor.grad
            if gradient is None:
                continue
            self._updates[place] += 1
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient.square(), 1 - BETAS[1])
            torch.maximum(largest, second, out=largest)
            corrections = [1 - beta ** self._updates[place] for beta in BETAS]
            moment = largest / corrections[1]
            ratio = (gradient.square() / moment.clamp(min=EPS**2)).mean().sqrt()
            rate = self.rate / max(1.0, ratio.item())
            tensor.mul_(1 - rate * self.decay)
            tensor.sub_(rate / corrections[0] * first / (moment.sqrt() + EPS))
