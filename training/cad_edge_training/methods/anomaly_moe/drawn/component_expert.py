"""Component experts: an autoencoder of what a component is like on the whole (paper Eq. 7)."""

from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn import functional

from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.weights import (
    Weights,
    cosine_distance,
    draw_by_inputs,
    dropped,
    linear,
)

LAYERS = 6
ENCODER = 3  # layers before the decoder, in which dropout is


def draw_component(layout: Layout, generator: Generator) -> dict[str, Tensor]:
    """Draw one expert: 768→256→64→64→64→256→768 as released, scaled to the width of features.

    Drawn by the number of inputs: at the released deviation of .01 six narrow layers have next to
    no output, and a cosine has gradients of one over it.
    """
    width = layout.features + layout.geometry
    middle, narrow = max(layout.features // 3, 4), max(layout.features // 12, 2)
    sizes = (width, middle, narrow, narrow, narrow, middle, width)
    found: dict[str, Tensor] = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        found |= draw_by_inputs(f"layer.{layer}", inputs, outputs, generator)
    return found


def component_error(weights: Weights, pooled: Tensor, present: Tensor, layout: Layout) -> Tensor:
    """Error of every component: 1 - cosine of features, plus the mean square of geometry's error.

    Geometry is ours and absent with `layout.geometry` 0.

    Parameters
    ----------
    pooled
        (n, K, d + geometry) float32: the mean feature of each component, its numbers behind.
    present
        (n, K), 1 for components that have a cell and 0 for others.

    Returns
    -------
    Tensor
        (n, K); 0 for a component without a cell.
    """
    return error_of(reconstruct_components(weights, pooled), pooled, present, layout)


def error_of(found: Tensor, pooled: Tensor, present: Tensor, layout: Layout) -> Tensor:
    """Error (n, K) between a reconstruction and what it is of, as `component_error` has it."""
    sizes = [layout.features, layout.geometry]
    features, numbers = torch.split(pooled, sizes, dim=-1)
    found_features, found_numbers = torch.split(found, sizes, dim=-1)
    error = cosine_distance(found_features, features)
    if layout.geometry:
        error = error + (found_numbers - numbers).square().mean(-1)
    return error * present.to(error.dtype)


def reconstruct_components(weights: Weights, pooled: Tensor, noise: float = 0.0) -> Tensor:
    """Reconstruct (n, K, d + geometry); ``noise`` is the share that the decoder's dropout takes."""
    for layer in range(LAYERS):
        pooled = linear(weights, f"layer.{layer}", pooled)
        if layer < LAYERS - 1:
            pooled = functional.relu(pooled)
            if layer >= ENCODER:
                pooled = dropped(pooled, noise)
    return pooled


def pool_components(features: Tensor, assignment: Tensor) -> tuple[Tensor, Tensor]:
    """Mean feature of each component, by masks and one product of matrices.

    Parameters
    ----------
    features
        (n, d, h, w).
    assignment
        (n, K, h·w), 1 where a cell is of a component and 0 elsewhere.

    Returns
    -------
    tuple
        (n, K, d), 0 for a component without a cell; and (n, K), 1 or 0 for present or not.
    """
    masks = assignment.to(features.dtype)
    cells = masks.sum(dim=-1, keepdim=True)
    pooled = masks @ features.flatten(2).transpose(1, 2) / cells.clamp(min=1)
    return pooled, (cells[..., 0] > 0).to(features.dtype)


def geometry_of(assignment: Tensor, grid: tuple[int, int]) -> Tensor:
    """Area and centre of components: share of the cells, row and column in [0, 1].

    Not standardised. Of a component without a cell all three are 0.

    Parameters
    ----------
    assignment
        (n, K, h·w), 1 or 0.

    Returns
    -------
    Tensor
        (n, K, 3) float32.
    """
    height, width = grid
    masks = assignment.to(torch.float32)
    rows = (torch.arange(height, device=masks.device) + 0.5).repeat_interleave(width) / height
    columns = (torch.arange(width, device=masks.device) + 0.5).repeat(height) / width
    sums = masks @ torch.stack([torch.ones_like(rows), rows, columns], dim=1)
    area, centre = sums[..., :1], sums[..., 1:]
    return torch.cat([area / (height * width), centre / area.clamp(min=1)], dim=-1)
