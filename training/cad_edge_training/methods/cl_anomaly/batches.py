"""Which images a step learns from: a function of seed and step, so that it can be repeated."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

Labels = np.ndarray[tuple[int], np.dtype[np.int64]]


class Batches:
    """Seeded batches; every batch is full, the last one takes from an order that comes next."""

    def __init__(
        self, labels: Labels, batch: int, epochs: int, balanced: bool, seeds: Sequence[int]
    ) -> None:
        """Plan.

        Parameters
        ----------
        labels
            (n,) int64, 1 for a defect.
        batch
            Images of a step.
        epochs
            How often every image is seen; in balanced batches, every image of the larger class.
        balanced
            Draw the same number from both classes.
        seeds
            What the orders depend on.
        """
        classes = [np.flatnonzero(labels == label) for label in (0, 1)]
        self._classes = classes if balanced else [np.arange(len(labels))]
        self._batch, self._seeds = batch, tuple(seeds)
        longest = max(len(members) for members in self._classes)
        self.steps = math.ceil(epochs * longest * len(self._classes) / batch)

    def at(self, step: int) -> Tensor:
        """Images (batch,) int64 of a step; with two classes they take turns."""
        count = len(self._classes)
        drawn = [
            self._member(place % count, place // count)
            for place in range(step * self._batch, (step + 1) * self._batch)
        ]
        return torch.tensor(drawn)

    def _member(self, number: int, place: int) -> int:
        """Return the image at a place of the endless sequence of shuffled orders of a class."""
        members = self._classes[number]
        order, within = divmod(place, len(members))
        rng = np.random.default_rng([*self._seeds, number, order])
        return int(members[rng.permutation(len(members))[within]])


def rate_at(step: int, steps: int, highest: float, warm_up: float) -> float:
    """Learning rate of a step: a linear rise, then half a cosine down to zero.

    Parameters
    ----------
    step
        From 0 to ``steps`` - 1.
    steps
        How many there are.
    highest
        The rate at the end of the rise.
    warm_up
        Share of the steps that it takes.
    """
    rising = math.ceil(steps * warm_up)
    if step < rising:
        return highest * (step + 1) / rising
    return highest * 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
