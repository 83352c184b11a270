"""The paper's incremental SVD of layers' inputs, block by block (arXiv 2502.19848, Eq. 10 and 11).

Each block of columns X_i is decomposed together with what is carried of the blocks before, and cut
off by the rank rule. As printed, the unit directions U are carried: length 1 each, they are swamped
by columns with larger singular values, and what a block had is lost at the next. Carrying U S, the
directions times their singular values, is incremental SVD as it is known elsewhere, and costs the
same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from cad_edge_training.methods.cdad.bases import (
    LayerBases,
    exactly_orthonormal,
    extended,
    further_rank,
    leading_rank,
)
from cad_edge_training.methods.cdad.second_moments import refuse_unfinite


class IncrementalSVD:
    """Directions of one layer's inputs.

    Carrying U S, old directions stay and only what lies outside of them is decomposed. The energy
    that was cut off at earlier blocks counts as lost, so that the result holds at least gamma of
    the energy of all blocks, and not of the last one with what was left of the others.

    Parameters
    ----------
    gamma
        Share of the task's energy in (0, 1] that is kept.
    old
        (d, k) float32 of the tasks before, orthonormal; None at the first.
    paper
        Carry unit directions as printed, also the old ones, which may then be lost. The rank rule
        is the mended one of `leading_rank` all the same.

    Examples
    --------
    >>> found = IncrementalSVD(0.95, None, paper=False)
    >>> found.add(torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]))
    >>> found.add(torch.tensor([[0.0], [0.0], [12.0]]))
    >>> found.basis().shape  # of 169 the two strongest hold 144 and 16, a share of .947
    torch.Size([3, 3])
    """

    def __init__(self, gamma: float, old: Tensor | None, *, paper: bool) -> None:
        self._gamma, self._old, self._paper = gamma, old, paper
        self._exact = None if old is None else exactly_orthonormal(old)
        self._vectors = self._exact if paper else None
        self._values: Tensor | None = None
        self._kept = self._total = 0.0

    @property
    def has_seen(self) -> bool:
        """Whether a block has been added."""
        return self._values is not None

    @torch.no_grad()
    def add(self, columns: Tensor) -> None:
        """Take a block of columns (d, m) of any type.

        Raises
        ------
        OptionError
            ``gamma`` is not in (0, 1].
        """
        block = columns.double()
        self._total += float(block.square().sum())
        if self._exact is not None and not self._paper:
            within = self._exact.T @ block
            self._kept += float(within.square().sum())
            block = block - self._exact @ within
        if self._vectors is not None:
            scale = 1.0 if self._paper or self._values is None else self._values
            block = torch.cat((self._vectors * scale, block), dim=1)
        vectors, values = left_singular(block)
        rank = self._rank(values.square())
        self._vectors, self._values = vectors[:, :rank], values[:rank]

    def _rank(self, energies: Tensor) -> int:
        if self._paper:
            return leading_rank(energies, self._gamma)
        rank = further_rank(energies, self._gamma, self._kept, self._total)
        if self._old is None:
            return max(1, rank)
        return min(rank, self._old.shape[0] - self._old.shape[1])

    @torch.no_grad()
    def basis(self) -> Tensor:
        """Directions (d, k) float32 of all blocks and, if they are kept, of the tasks before.

        At least one block has been added.
        """
        assert self._vectors is not None
        if self._old is None or self._paper:
            return self._vectors.float().contiguous()
        return extended(self._old, self._vectors)


def left_singular(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Left singular vectors and singular values of columns (d, m).

    Those of R^T in X^T = Q R: Q, as large as the columns, is never formed.

    Returns
    -------
    vectors, values
        (d, n) and (n,) with n = min(d, m), falling.
    """
    triangle = torch.linalg.qr(columns.T, mode="r").R
    vectors, values, _ = torch.linalg.svd(triangle.T, full_matrices=False)
    return vectors, values


class IncrementalSVDs:
    """An `IncrementalSVD` for every basis; an `InputConsumer`.

    Parameters
    ----------
    gammas
        By name of a basis, for all that are to be found.
    before
        Bases of the tasks before, without any at the first.
    paper
        As `IncrementalSVD`.
    """

    def __init__(self, gammas: Mapping[str, float], before: LayerBases, *, paper: bool) -> None:
        self._before = before
        self._found = {
            name: IncrementalSVD(gamma, before.by_name.get(name), paper=paper)
            for name, gamma in gammas.items()
        }
        self._block: dict[str, list[Tensor]] = {}

    def add(self, name: str, columns: Tensor) -> None:
        """Hold columns (d, m) until the block ends."""
        self._block.setdefault(name, []).append(columns.detach())

    def end_block(self) -> None:
        """Decompose what was added since the last block, in the paper all steps of one image.

        Raises
        ------
        CadEdgeError
            Inputs were not finite; OptionError as `IncrementalSVD.add`.
        """
        for name, columns in self._block.items():
            block = torch.cat(columns, dim=1)
            refuse_unfinite(name, float(block.double().square().sum()))
            self._found[name].add(block)
        self._block = {}

    def bases(self) -> LayerBases:
        """Bases of all tasks so far, after the block that is open has ended.

        Those that no block had columns of stay as they were; errors are those of `end_block`.
        """
        self.end_block()
        found = dict(self._before.by_name)
        for name, one in self._found.items():
            if one.has_seen:
                found[name] = one.basis()
        return LayerBases(found)
