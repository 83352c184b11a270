"""How far a residual is from good parts' own: whitened by their covariance (ours).

The paper's ||F - F^g|| gives every direction the same weight, so that it is ruled by what good
parts vary in and no network restores. Whitened, a direction counts by how far it is beyond that,
and what image and depth do together counts as well. Mean and covariance are of a product's kept
good parts, and are made anew with every model version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cad_edge_training.memory_bank import Whitening, fit_whitening

SHRINKAGE = 0.05
"""Share of the mean variance that is added to every direction's."""
DEPTH = "depth"


@dataclass(frozen=True)
class Residuals:
    """What was seen less what was restored."""

    parts: Mapping[str, Tensor]
    """(batch, n, channels) float32 by modality."""
    measured: Tensor | None = None
    """(batch, n), which share of a cell's depth was measured; None: all of it."""

    def rows(self, index: Tensor) -> "Residuals":
        """Take frames out of a batch."""
        parts = {name: one[index] for name, one in self.parts.items()}
        return Residuals(parts, None if self.measured is None else self.measured[index])

    def lengths(self) -> Tensor:
        """||F - F^g|| of every cell (Eq. 9), (batch, n): modalities added, as far as measured."""
        total = torch.zeros_like(next(iter(self.parts.values()))[..., 0])
        for name, part in self.parts.items():
            length = torch.linalg.vector_norm(part, dim=-1)
            share = self._share(name)
            total = total + (length if share is None else length * share)
        return total

    def joined(self) -> Tensor:
        """Modalities side by side, (batch, n, channels of all)."""
        return torch.cat(list(self.parts.values()), dim=-1)

    def shares(self) -> Tensor:
        """How much every value was measured, as `joined`."""
        known = []
        for name, part in self.parts.items():
            one = torch.ones_like(part)
            share = self._share(name)
            known.append(one if share is None else one * share[..., None])
        return torch.cat(known, dim=-1)

    def _share(self, name: str) -> Tensor | None:
        return self.measured if name == DEPTH else None


def distances(residuals: Residuals, whitening: Whitening) -> Tensor:
    """Mahalanobis distance of every cell, (batch, n); what was not measured is at the mean."""
    centred = residuals.joined() - whitening.mean
    if residuals.measured is not None:
        centred = centred * residuals.shares()
    found: Tensor = torch.linalg.vector_norm(centred @ whitening.matrix, dim=-1)
    return found


def fit(residuals: Residuals) -> Whitening:
    """Whiten what good parts' residuals are like; a value weighs as much as it was measured.

    Examples
    --------
    Variances of 12 and 1 / 3, to which 0.05 of their mean is added:

    >>> corners = torch.tensor([[[3.0, 0.5], [-3.0, 0.5], [3.0, -0.5], [-3.0, -0.5]]])
    >>> fit(Residuals({"rgb": corners})).matrix.diagonal()
    tensor([0.2850, 1.2484])
    """
    values = residuals.joined().flatten(0, 1)
    shares = residuals.shares().flatten(0, 1)
    total = shares.double().sum(dim=0).clamp_min(1)
    mean = ((values.double() * shares).sum(dim=0) / total).float()
    return Whitening(mean, fit_whitening((values - mean) * shares, SHRINKAGE).matrix)


def fit_or_identity(residuals: Residuals, groups: Sequence[int]) -> Whitening:
    """Whiten, or leave residuals as they are where good parts are too few (`suffices`)."""
    _, cells, channels = residuals.joined().shape
    if suffices(groups, cells, channels):
        return fit(residuals)
    return Whitening(torch.zeros(channels), torch.eye(channels))


def suffices(groups: Sequence[int], cells: int, channels: int) -> bool:
    """Whether a covariance stands on as many cells as channels, whichever group is left out.

    Parameters
    ----------
    groups
        Number of the group of each kept good part.
    cells, channels
        Of its residuals, modalities side by side.
    """
    largest = max(groups.count(group) for group in set(groups))
    return (len(groups) - largest) * cells >= channels


def cross_fitted_distances(residuals: Residuals, groups: Sequence[int], count: int) -> Tensor:
    """Distances (count, n) of the first ``count`` good parts, by whitenings of the others.

    A whitening has fitted the parts that it is made of, and a threshold from their distances would
    reject more than it says.

    Parameters
    ----------
    residuals
        Of all kept good parts, the held-out ones first.
    groups
        Number of the group of each; what is of one group is left out together.
    count
        How many are held out.
    """
    of = torch.tensor(list(groups))
    _, cells, channels = residuals.joined().shape
    if not suffices(groups, cells, channels):
        identity = fit_or_identity(residuals, groups)
        return distances(residuals.rows(torch.arange(count)), identity)
    found = torch.empty(count, next(iter(residuals.parts.values())).shape[1])
    for group in set(groups[:count]):
        own = torch.nonzero(of[:count] == group).flatten()
        others = torch.nonzero(of != group).flatten()
        found[own] = distances(residuals.rows(own), fit(residuals.rows(others)))
    return found
