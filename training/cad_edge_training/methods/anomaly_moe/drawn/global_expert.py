"""Global experts: from pixels through one vector to the features of the whole (paper Eq. 8)."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from cad_edge_training.gaussian import resize_matrix
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.drawn.weights import (
    Weights,
    draw_by_inputs,
    dropped,
    part,
    under,
)

HALVINGS = 3
STUDENT_KERNELS = (3, 3, 1, 3, 3, 1)


def draw_global(config: Config, layout: Layout, generator: Generator) -> dict[str, Tensor]:
    """Draw one expert; with `global_form="pair"` an autoencoder and a student of it, as released.

    Layers are the released ones at width 768 and 392 pixels: 128 numbers for the whole, 2 strides
    of 7 down to one cell. They scale with `width`, which leaves at least 32 numbers.
    """
    found = _draw_autoencoder(config, layout, generator)
    if config.global_form == "pair":
        found |= under("student", _draw_student(config, layout, generator))
    return found


def _draw_autoencoder(config: Config, layout: Layout, generator: Generator) -> dict[str, Tensor]:
    width = max(config.width // 6, 32)
    first, last = _squeezing(layout.pixels)
    sizes = (3, width // 4, width // 2, width, width, width, width)
    kernels = (*[(4, 4)] * HALVINGS, (3, 3), first[0], last[0])
    found: dict[str, Tensor] = {}
    for layer, kernel in enumerate(kernels):
        name = f"encoder.{layer}"
        found |= draw_by_inputs(name, sizes[layer], sizes[layer + 1], generator, kernel)
    count = len(_growing(layout.grid))
    for layer in range(count):
        found |= draw_by_inputs(f"decoder.{layer}", width, width, generator, (4, 4))
    found |= draw_by_inputs(f"decoder.{count}", width, width, generator, (3, 3))
    found |= draw_by_inputs(f"decoder.{count + 1}", width, layout.features, generator, (3, 3))
    return found


def _draw_student(config: Config, layout: Layout, generator: Generator) -> dict[str, Tensor]:
    width = max(config.width // 3, 16)
    sizes = (3, width, 2 * width, 2 * width, 2 * width, layout.features, layout.features)
    found: dict[str, Tensor] = {}
    for layer, side in enumerate(STUDENT_KERNELS):
        name = f"layer.{layer}"
        found |= draw_by_inputs(name, sizes[layer], sizes[layer + 1], generator, (side, side))
    return found


def _squeezing(pixels: tuple[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Kernel and stride of the two convolutions that leave one cell; 9 and 7 at 392 pixels."""
    sides = [side >> HALVINGS for side in pixels]
    steps = [max(round(math.sqrt(side)), 1) for side in sides]
    found = []
    for strides in (steps, [side // step for side, step in zip(sides, steps, strict=True)]):
        left = [side // stride for side, stride in zip(sides, strides, strict=True)]
        # With a margin of one on both sides, this covers every cell in exactly `left` places.
        each = zip(sides, strides, left, strict=True)
        kernel = [side + 2 - (places - 1) * stride for side, stride, places in each]
        found.append(((kernel[0], kernel[1]), (strides[0], strides[1])))
        sides = left
    return found


def _growing(grid: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes before each 4x4 convolution: 3, 7, 15, 31, 63, 31 for 28 cells, as released."""
    sizes = [3]
    while sizes[-1] < 2 * max(grid):
        sizes.append(2 * sizes[-1] + 1)
    return [(size, size) for size in [*sizes, sizes[-2] if len(sizes) > 1 else 3]]


def reconstruct_whole(
    weights: Weights, pixels: Tensor, grid: tuple[int, int], noise: float = 0.0
) -> Tensor:
    """Reconstruct features (n, d, h, w) from pixels (n, 3, H, W), normalised as for the backbone.

    ``noise`` is the share that the decoder's dropout takes. As published, there is no activation
    at the one vector that the whole is squeezed into.
    """
    first, last = _squeezing((pixels.shape[-2], pixels.shape[-1]))
    strides = (*[(2, 2)] * HALVINGS, (1, 1), first[1], last[1])
    for layer, stride in enumerate(strides):
        pixels = _convolve(weights, f"encoder.{layer}", pixels, 1, stride)
        if layer < HALVINGS + 1:
            pixels = functional.relu(pixels)
    sizes = _growing(grid)
    for layer, size in enumerate(sizes):
        grown = _resized(pixels, size)
        pixels = functional.relu(_convolve(weights, f"decoder.{layer}", grown, 2))
        pixels = dropped(pixels, noise)
    count = len(sizes)
    pixels = _resized(pixels, grid)
    pixels = functional.relu(_convolve(weights, f"decoder.{count}", pixels, 1))
    return _convolve(weights, f"decoder.{count + 1}", pixels, 1)


def follow(weights: Weights, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features (n, d, h, w) that the student of a pair finds in pixels (n, 3, H, W)."""
    own = part(weights, "student")
    for layer, side in enumerate(STUDENT_KERNELS):
        pixels = _convolve(own, f"layer.{layer}", pixels, side // 2)
        if layer < len(STUDENT_KERNELS) - 1:
            pixels = functional.relu(pixels)
        if layer == 0:
            pixels = functional.avg_pool2d(pixels, 2)
        if layer == 1:
            sides = [max(pixels.shape[2 + axis] // grid[axis], 1) for axis in (0, 1)]
            pixels = _resized(functional.avg_pool2d(pixels, sides), grid)
    return pixels


def is_pair(weights: Weights) -> bool:
    """Tell whether an expert has a student."""
    return any(name.startswith("student.") for name in weights)


def global_error(weights: Weights, pixels: Tensor, features: Tensor) -> Tensor:
    """Error of every cell: the mean square over channels of features - reconstruction.

    Of a pair it is between the autoencoder and its student, as released.

    Parameters
    ----------
    pixels
        (n, 3, H, W) float32, normalised as for the backbone.
    features
        (n, d, h, w) float32, standardised.

    Returns
    -------
    Tensor
        (n, h·w), at least 0.
    """
    grid = (features.shape[-2], features.shape[-1])
    found = reconstruct_whole(weights, pixels, grid)
    target = follow(weights, pixels, grid) if is_pair(weights) else features
    return (target - found).square().mean(dim=1).flatten(1)


def _convolve(
    weights: Weights, name: str, values: Tensor, padding: int, stride: tuple[int, int] = (1, 1)
) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return functional.conv2d(values, weight, bias, stride=stride, padding=padding)


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, as products with constant matrices, since engines have no operator that resizes."""
    cells = (int(values.shape[-2]), int(values.shape[-1]))
    if cells == size:
        return values
    rows, columns = (
        torch.from_numpy(resize_matrix(*one)).to(values) for one in zip(size, cells, strict=True)
    )
    return rows @ values @ columns.T
