"""Columns of the oracle of METHODS 9 (003), and bases of columns in blocks."""

import torch

from cad_edge_training.methods.cdad.incremental_svd import IncrementalSVD
from cad_edge_training.methods.cdad.second_moments import SecondMoments

FIRST = torch.tensor([[3.0, 0, 0, 0], [0, 4, 0, 0]], dtype=torch.float64).T
SECOND = torch.tensor([[0.0, 0, 12, 0]], dtype=torch.float64).T
BATCH = torch.cat((FIRST, SECOND), dim=1)


def drawn(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def moment_of(*blocks: torch.Tensor) -> torch.Tensor:
    moments = SecondMoments()
    for block in blocks:
        moments.add("layer", block)
    return moments.by_basis["layer"]


def by_blocks(gamma, blocks, old=None, paper=False) -> torch.Tensor:
    found = IncrementalSVD(gamma, old, paper=paper)
    for block in blocks:
        found.add(block)
    return found.basis()


def projector(basis: torch.Tensor) -> torch.Tensor:
    return basis.double() @ basis.double().T
