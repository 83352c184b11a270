"""Second moments of layers' inputs, which have the directions of all columns exactly.

G = X X^T of all columns X (d, m) has the left singular vectors of X as eigenvectors and the squares
of its singular values as eigenvalues. It needs d * d numbers however many columns there are, adds
up over images and sampling steps in any order, and is cut off once: what the incremental SVD of
the paper (arXiv 2502.19848, Eq. 10 and 11) approximates block by block.
"""

import math

import torch
from torch import Tensor

from cad_edge.errors import CadEdgeError


class SecondMoments:
    """G += X X^T for every basis; an `InputConsumer`.

    In float64: eigenvalues are squares of singular values, so float32 would drown directions below
    2e-4 of the strongest in rounding, and between tasks the residual is the small difference of
    large numbers. Columns are converted first, so that a sum is the same in any order to 1e-15.
    """

    def __init__(self) -> None:
        self.by_basis: dict[str, Tensor] = {}
        """(d, d) float64 by name of a basis, on the device of its columns."""

    @torch.no_grad()
    def add(self, name: str, columns: Tensor) -> None:
        """Add columns (d, m) of any type."""
        exact = columns.double()
        if name not in self.by_basis:
            self.by_basis[name] = exact.new_zeros((len(exact), len(exact)))
        self.by_basis[name].addmm_(exact, exact.T)


def directions(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvectors by falling eigenvalue.

    Parameters
    ----------
    moment
        (d, d) float64, symmetric and without negative eigenvalues but for rounding.

    Returns
    -------
    vectors, energies
        (d, d) and (d,) float64: left singular vectors of the columns that were added, and squares
        of their singular values.

    Examples
    --------
    >>> directions(torch.tensor([[1.0, 0.0], [0.0, 9.0]], dtype=torch.float64))[1].tolist()
    [9.0, 1.0]
    """
    energies, vectors = torch.linalg.eigh(moment)
    return vectors.flip(1), energies.flip(0).clamp(min=0)


def retained_energy(basis: Tensor, moment: Tensor) -> float:
    """Share tr(U^T G U) / tr(G) of a task's energy that a basis holds; 1 where there is none.

    Parameters
    ----------
    basis
        (d, k), orthonormal.
    moment
        (d, d) float64, second moments of the task's inputs.
    """
    total = float(moment.trace())
    exact = basis.to(moment)
    return float((exact * (moment @ exact)).sum()) / total if total else 1.0


def refuse_unfinite(name: str, energy: float) -> None:
    """Raise CadEdgeError where the energy of a layer's inputs is not finite."""
    if not math.isfinite(energy):
        raise CadEdgeError(
            f"inputs of layer {name} are not finite, so that what the product needs cannot be "
            "kept; learn it with a lower learning_rate"
        )
