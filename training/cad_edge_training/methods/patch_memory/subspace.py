"""A Gaussian of channel statistics whose small variances are one number, and its held-out lengths.

Probabilistic PCA (Tipping & Bishop 1999, Eq. 7): with y = (x - mean) * scale and a = y V the
squared Mahalanobis length is sum_i precision_i a_i^2 + rest (|y|^2 - |a|^2).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

PARTS = ("mean", "scale", "directions", "precision", "rest")


@dataclass(frozen=True)
class Subspace:
    """The Gaussian."""

    mean: Tensor
    """(d,)"""
    scale: Tensor
    """(d,) brings every number to unit deviation."""
    directions: Tensor
    """(d, rank) columns V, orthonormal or zero."""
    precision: Tensor
    """(rank,)"""
    rest: Tensor
    """() precision of everything outside V."""

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> "Subspace":
        """Read what `tensors` wrote."""
        return Subspace(*(tensors[f"statistics/{name}"] for name in PARTS))

    def tensors(self) -> dict[str, Tensor]:
        """Tensors ``statistics/<part>``."""
        return {f"statistics/{name}": getattr(self, name) for name in PARTS}

    def length(self, values: Tensor) -> Tensor:
        """Mahalanobis length (n,) of values (n, d) float32."""
        scaled = (values - self.mean) * self.scale
        along = (scaled @ self.directions) ** 2
        outside = ((scaled * scaled).sum(1) - along.sum(1)).clamp_min(0)
        return torch.sqrt(along @ self.precision + self.rest * outside)


def fit_subspace(values: Tensor, rank: int, shrinkage: float) -> Subspace:
    """Fit to values (n, d) float32, n >= 2.

    Parameters
    ----------
    rank
        Directions kept; where there are fewer, the others are zero, so that all tasks share a
        shape.
    shrinkage
        Fraction of the mean eigenvalue added to every eigenvalue.
    """
    wide = values.double()
    count, width = wide.shape
    mean = wide.mean(dim=0)
    # Means of early channels and deviations of late ones differ in scale by orders of magnitude;
    # the shrinkage would flatten the small ones.
    scale = 1 / (wide.std(dim=0, correction=0) + 1e-6)
    _, singular, rows = torch.linalg.svd((wide - mean) * scale, full_matrices=False)
    eigenvalues = singular**2 / max(count - 1, 1)
    floor = (shrinkage * eigenvalues.sum() / width).clamp_min(1e-12)
    rank = min(rank, width)
    found = min(rank, len(eigenvalues))
    directions = torch.zeros(width, rank, dtype=torch.float64)
    directions[:, :found] = rows[:found].T
    kept = torch.zeros(rank, dtype=torch.float64)
    kept[:found] = eigenvalues[:found]
    rest = eigenvalues[found:].sum() / max(width - rank, 1)
    return Subspace(
        mean.float(),
        scale.float(),
        directions.float(),
        (1 / (kept + floor)).float(),
        (1 / (rest + floor)).float(),
    )


def left_out_lengths(values: Tensor, parts: Tensor, rank: int, shrinkage: float) -> Tensor:
    """Length of every image under the Gaussian of the images of all other parts, (n,) float32.

    With few images the Gaussian narrows with their number, and the lengths of new images grow. A
    fold that leaves a fifth of them out would overestimate what good parts show later, so that
    parts are as small as single images or groups.

    Parameters
    ----------
    values
        (n, d) float32.
    parts
        (n,) int64, at least two different ones.
    """
    lengths = torch.empty(len(values))
    for part in parts.unique():  # type: ignore[no-untyped-call]
        held = parts == part
        lengths[held] = fit_subspace(values[~held], rank, shrinkage).length(values[held])
    return lengths
