"""IUF's regulariser (Tang et al. 2024, METHODS 5.2): what keeps old products while new ones come.

(i) Semantic compression, first step only: the small singular values of pooled features vanish, so
that what is learned lies in few directions. (ii) Damped updates: the update of a feed-forward
output loses what moves outputs along the directions that old products used most,
g <- V diag(w) V^T g with w_i = log(1 + i) / log(d). (iii) After every update weights are pulled to
what they were: W <- (1 - pull) W + pull W_old.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cad_edge_training.methods.ib_iumad.frozen import FrozenFeatures
from cad_edge_training.methods.ib_iumad.network import Network
from cad_edge_training.methods.ib_iumad.reconstruction import FeedForward

Array = np.ndarray[Any, np.dtype[Any]]

QUEUE = 768  # samples whose pooled features are compressed
SMALL = 0.1  # over the width: a normalised singular value below it is to vanish
COMPRESSED_LAYERS = 3


def small_singular_values(pooled: Tensor) -> Tensor:
    """Sum of the normalised singular values below 0.1 / d.

    Parameters
    ----------
    pooled
        (samples, d) float32.
    """
    values = torch.linalg.svdvals(pooled)
    normalised = values / values.sum()
    small: Tensor = normalised[normalised < SMALL / pooled.shape[1]].sum()
    return small


class Compression:
    """Semantic compression over the last samples seen, of which the newest alone get a gradient."""

    def __init__(self) -> None:
        self._queues: dict[str, Tensor] = {}

    def loss(self, layers: Mapping[str, list[Tensor]]) -> Tensor:
        """Mean over modalities and the first three decoder layers of `small_singular_values`.

        Parameters
        ----------
        layers
            Decoder outputs (batch, n, width) by modality.
        """
        found = []
        for modality, outputs in layers.items():
            for number, output in enumerate(outputs[:COMPRESSED_LAYERS]):
                pooled = output.mean(dim=1)
                key = f"{modality}.{number}"
                before = self._queues.get(key, pooled[:0].detach())
                joined = torch.cat((before, pooled))[-QUEUE:]
                self._queues[key] = joined.detach()
                found.append(small_singular_values(joined))
        return torch.stack(found).mean()


def feed_forwards(network: Network) -> Iterator[tuple[str, FeedForward]]:
    """Feed-forward parts of the reconstruction networks, by name."""
    for name, part in network.reconstructions.named_modules():
        if isinstance(part, FeedForward):
            yield name, part


def damping_weights(width: int) -> Tensor:
    """Return w_i = log(1 + i) / log(width), (width,): 0 for the strongest direction, last 1."""
    place = torch.arange(width, dtype=torch.float64)
    return (torch.log1p(place) / math.log(width)).float()


def collect_bases(
    network: Network, seen: FrozenFeatures, before: Mapping[str, Array], batch: int
) -> dict[str, Array]:
    """Directions in which feed-forward outputs of all products so far lie.

    Parameters
    ----------
    network
        As learned; switched to inference here.
    seen
        Training images of the newest step, standardised.
    before
        What this returned after the step before; empty at first.
    batch
        Images at a time.

    Returns
    -------
    dict
        By name of a feed-forward part diag(s) V^T (width, width) float32 of the matrix that has one
        row, the mean output over tokens, for every image so far: its right singular vectors by
        falling singular value, each as long as its value. Taking these rows for the images they
        stand for changes no direction, so that no feature of an old image is kept.
    """
    rows: dict[str, list[Tensor]] = {name: [] for name, _ in feed_forwards(network)}
    hooks = [
        part.register_forward_hook(lambda _, __, out, to=rows[name]: to.append(out.mean(dim=1)))
        for name, part in feed_forwards(network)
    ]
    network.eval()
    try:
        with torch.inference_mode():
            for index in torch.split(torch.arange(len(next(iter(seen.tokens.values())))), batch):
                tokens = seen.rows(index).tokens
                network(tokens, tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return {
        name: basis(np.concatenate([before[name], new]) if name in before else new)
        for name, parts in rows.items()
        for new in [torch.cat(parts).numpy()]
    }


def basis(rows: Array) -> Array:
    """Return diag(s) V^T (d, d) float32 of rows (n, d), with a complete V where n < d."""
    _, values, right = np.linalg.svd(rows.astype(np.float64), full_matrices=True)
    width = right.shape[0]
    # Directions that no image used keep their place behind all others, with next to no length.
    lengths = np.full(width, 1e-12)
    lengths[: len(values)] = np.maximum(values, 1e-12)
    return np.asarray(lengths[:, None] * right, np.float32)


class DampedUpdates:
    """Parts (ii) and (iii) while a further step is learned.

    It is the update that is damped, whatever rule made it; of plain gradient descent that is
    damping the gradient.
    """

    def __init__(self, network: Network, bases: Mapping[str, Array], pull: float) -> None:
        self._damping = [
            (value, _projector(bases[name]))
            for name, part in feed_forwards(network)
            if name in bases
            for value in (part.down.weight, part.down.bias)
        ]
        self._old = [
            (weight, weight.detach().clone())
            for name, weight in network.named_parameters()
            if not name.startswith("heads.")
        ]
        self._pull = pull
        self._before: list[Tensor] = []

    @torch.no_grad()
    def before_update(self) -> None:
        """Note what is to be damped."""
        self._before = [value.clone() for value, _ in self._damping]

    @torch.no_grad()
    def after_update(self) -> None:
        """Take from the update what would move old products, then pull to what was.

        Heads, which have grown, go free.
        """
        for (value, projector), before in zip(self._damping, self._before, strict=True):
            value.copy_(before + projector @ (value - before))
        for weight, old in self._old:
            weight.lerp_(old, self._pull)


def _projector(rows: Array) -> Tensor:
    """V diag(w) V^T (d, d) of the directions in rows, which fall in length."""
    vectors = torch.from_numpy(rows.astype(np.float64))
    vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    weights = damping_weights(len(vectors)).double()
    projector: Tensor = (vectors.T * weights) @ vectors
    return projector.float()
