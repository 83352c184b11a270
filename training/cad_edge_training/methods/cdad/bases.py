"""Orthonormal bases of the input directions that learned products use.

A basis keeps the fewest leading directions that hold a share gamma of the energy, the sum of
squared singular values (arXiv 2502.19848, Eq. 9). The paper's Algorithm 1 counts the directions
whose cumulated share is below gamma, which is one too few and can be none; here the direction that
reaches gamma is counted, and there is at least one.

Between tasks the paper decomposes old unit directions together with new columns, where either
swamps the other by its scale. Here old directions stay, and those of the new task's residual
(I - U U^T) G (I - U U^T) are added until the new task alone keeps gamma of its own energy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cad_edge.errors import ArtifactError, CadEdgeError, OptionError
from cad_edge_training.methods.cdad.second_moments import directions, refuse_unfinite

BASES = "basis/"
"""Prefix in shared weights: of (d, k) float32 by name of a basis."""
ROUNDING = 1e-12  # of the energy; at a gamma of 1 less than it counts as nothing
SKEW = 1e-4  # at most, between what U^T U of stored bases is and the identity
NAMED = 5  # layers in a sentence
LEAST_ROOM = 1e-3
"""Share of all directions below which nothing can be learned: those that no product ever uses, as
of a unit behind a ReLU that is never active, stay free for good and are of no use to the next."""

Array = np.ndarray[Any, np.dtype[Any]]


def leading_rank(energies: Tensor, gamma: float) -> int:
    """Return the smallest k >= 1 whose directions hold a share gamma of all energy.

    Parameters
    ----------
    energies
        (n,) squared singular values, falling.
    gamma
        Share in (0, 1].

    Raises
    ------
    OptionError
        As `further_rank`.

    Examples
    --------
    >>> leading_rank(torch.tensor([0.9, 0.1], dtype=torch.float64), 0.9)
    1
    """
    return max(1, further_rank(energies, gamma, 0.0, float(energies.sum())))


def further_rank(energies: Tensor, gamma: float, kept: float, total: float) -> int:
    """Return the smallest k >= 0 with kept + energies[:k].sum() >= gamma * total.

    Parameters
    ----------
    energies
        (n,) of the directions that may be added, falling; all n where they are not enough.
    kept, total
        Energy that directions at hand hold, and energy in all.

    Raises
    ------
    OptionError
        ``gamma`` is not in (0, 1].
    """
    if not 0 < gamma <= 1:
        raise OptionError(f"gamma is {gamma:g}; give a share above 0 and at most 1")
    reached = kept + torch.cumsum(energies.double(), dim=0)
    least = (gamma - ROUNDING) * total
    return 0 if kept >= least else min(len(energies), 1 + int((reached < least).sum()))


@torch.no_grad()
def grown(old: Tensor | None, moment: Tensor, gamma: float) -> Tensor:
    """Basis of a task, or one that is grown by it.

    Parameters
    ----------
    old
        (d, k) float32 of the tasks before, orthonormal; None at the first.
    moment
        (d, d) float64, second moments of the new task's inputs.
    gamma
        Share of the new task's energy that the result holds at least.

    Returns
    -------
    Tensor
        (d, k + added) float32, orthonormal to 1e-6: old directions first, bit for bit.

    Raises
    ------
    OptionError
        ``gamma`` is not in (0, 1].
    """
    if old is None:
        vectors, energies = directions(moment)
        return vectors[:, : leading_rank(energies, gamma)].float().contiguous()
    exact = exactly_orthonormal(old.to(moment))
    seen = moment @ exact
    inner = exact.T @ seen
    residual = moment - seen @ exact.T - exact @ seen.T + exact @ inner @ exact.T
    vectors, energies = directions(residual)
    rank = further_rank(energies, gamma, float(inner.trace()), float(moment.trace()))
    return extended(old, vectors[:, : min(rank, old.shape[0] - old.shape[1])])


def exactly_orthonormal(basis: Tensor) -> Tensor:
    """Directions (d, k) float64 of the same span, orthonormal to 1e-15.

    A residual is taken with these: with float32 directions 6e-8 of what lies within them would stay
    in it, which can be more than what a new task brings.
    """
    exact: Tensor = torch.linalg.qr(basis.double()).Q
    return exact


def extended(old: Tensor, added: Tensor) -> Tensor:
    """Join old directions (d, k) float32 and new ones (d, n) float64 into a basis, float32.

    What new ones share with old ones is rounding, and is taken off.
    """
    exact = exactly_orthonormal(old)
    rest = added - exact @ (exact.T @ added)
    return torch.cat((old, exactly_orthonormal(rest).to(old)), dim=1)


@dataclass(frozen=True)
class Share:
    """How many of all directions are taken."""

    by_layer: Mapping[str, float]
    """k / d by name of a basis."""
    overall: float
    """Sum of k over the sum of d."""


@dataclass(frozen=True)
class LayerBases:
    """Directions of all tasks so far."""

    by_name: Mapping[str, Tensor]
    """(d, k) float32, orthonormal, by name of a basis: a layer's, or what layers share."""

    def grown(self, moments: Mapping[str, Tensor], gammas: Mapping[str, float]) -> "LayerBases":
        """Add what a new task needs, by second moments (d, d) and gamma of each basis.

        Bases that the task has no moments of stay as they are; errors are those of `grown`.

        Raises
        ------
        CadEdgeError
            Inputs were not finite.
        """
        found = dict(self.by_name)
        for name, moment in moments.items():
            refuse_unfinite(name, float(moment.trace()))
            found[name] = grown(found.get(name), moment, gammas[name])
        return LayerBases(found)

    def share(self) -> Share:
        """Tell how many directions are taken; 1 overall where there is no basis."""
        sizes = [basis.shape for basis in self.by_name.values()]
        return Share(
            {name: basis.shape[1] / len(basis) for name, basis in self.by_name.items()},
            sum(k for _, k in sizes) / sum(d for d, _ in sizes) if sizes else 1.0,
        )

    def to_tensors(self) -> dict[str, Array]:
        """Bases as a store keeps them, (d, k) float32 under `BASES`."""
        return {BASES + name: basis.cpu().numpy() for name, basis in self.by_name.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Array]) -> "LayerBases":
        """Take what `to_tensors` gave out of all that a store keeps.

        Raises
        ------
        ArtifactError
            A tensor under `BASES` is no orthonormal basis.
        """
        found = {
            name.removeprefix(BASES): torch.from_numpy(np.array(value, np.float32))
            for name, value in tensors.items()
            if name.startswith(BASES)
        }
        for name, basis in found.items():
            if not _is_orthonormal(basis):
                raise ArtifactError(
                    f"basis {name} of shape {tuple(basis.shape)} is not orthonormal; take the "
                    "artifact from a copy, or learn its products again"
                )
        return cls(found)

    def check(self, widths: Mapping[str, int]) -> None:
        """Refuse bases that are not of the network with these `basis_widths`.

        A network may have layers without a basis; they do not move.

        Raises
        ------
        ArtifactError
            There is a basis that no layer has, or one of another width.
        """
        for name, basis in self.by_name.items():
            if len(basis) != widths.get(name):
                has = f"takes in {widths[name]}" if name in widths else "does not exist"
                raise ArtifactError(
                    f"layer {name} {has} where its basis is of {len(basis)} numbers: these are "
                    "bases of another model version or width; learn the products again with this "
                    "one, or continue with the version that learned them"
                )

    def check_room(self) -> None:
        """Refuse to learn where no layer could move.

        Raises
        ------
        CadEdgeError
            Less than `LEAST_ROOM` of all directions is free; the message has the share left of
            each layer.
        """
        share = self.share()
        if 1 - share.overall >= LEAST_ROOM:
            return
        left = [f"{name} {1 - taken:.1%}" for name, taken in share.by_layer.items()]
        further = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        raise CadEdgeError(
            "the network is full: earlier products take all input directions of its layers "
            f"(left: {', '.join(left[:NAMED]) or 'no layer'}{further}); lower energy or raise the "
            "width and learn the products again, or give --out another folder"
        )


def _is_orthonormal(basis: Tensor) -> bool:
    """Whether this is a basis; what is not finite is none."""
    if basis.dim() != 2 or not 1 <= basis.shape[1] <= basis.shape[0]:
        return False
    return bool(((basis.T @ basis - torch.eye(basis.shape[1])).abs() <= SKEW).all())
