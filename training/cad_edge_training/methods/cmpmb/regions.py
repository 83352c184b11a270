"""Region maps for the contrastive loss: superpixels, or SAM's masks where a model is given."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.image import Frame
from cad_edge.errors import OptionError

Ids: TypeAlias = NDArray[np.int64]
Regions: TypeAlias = Callable[[Frame, tuple[int, int]], Ids]
"""From an image (h, w, 3) uint8 and a grid (gh, gw) to region ids (gh, gw) int64."""

# About as many as SAM finds on a product, and still several patches of a 14 x 14 grid in each.
SUPERPIXELS = 24
COMPACTNESS = 10.0  # weight of nearness against likeness of colour (CIELAB)


def load_regions(spec: str) -> Regions:
    """Give a provider of region maps.

    Parameters
    ----------
    spec
        ``slic``, or ``sam:ID`` with a hub id or a local folder that transformers can read.

    Raises
    ------
    OptionError
        ``spec`` is neither, or there is no SAM at ID.
    """
    if spec == "slic":
        return slic_regions
    kind, _, source = spec.partition(":")
    if kind != "sam" or not source:
        raise OptionError(
            f"regions {spec!r} is unknown; take slic, or sam:ID with a hub id or local folder"
        )
    from cad_edge_training.methods.cmpmb.sam_masks import load_sam

    masks = load_sam(source)
    return lambda image, grid: majority(paint(masks(image), image.shape[:2]), grid)


def slic_regions(image: Frame, grid: tuple[int, int]) -> Ids:
    """Superpixels (Achanta et al., TPAMI 2012) of an image (h, w, 3) uint8 on a grid (gh, gw)."""
    from skimage.segmentation import slic

    ids = slic(
        image, n_segments=SUPERPIXELS, compactness=COMPACTNESS, start_label=1, channel_axis=-1
    )
    return majority(ids.astype(np.int64), grid)


def paint(masks: NDArray[np.bool_], size: tuple[int, ...]) -> Ids:
    """Paint masks (n, h, w) over each other, largest first, with ids 1, 2, ...

    What no mask covers stays 0; of two masks of one size the earlier is painted first.

    Returns
    -------
    (h, w) int64, where (h, w) is ``size``.
    """
    ids = np.zeros(size, np.int64)
    areas = masks.sum(axis=(1, 2))
    for number, index in enumerate(np.argsort(-areas, kind="stable"), start=1):
        ids[masks[index]] = number
    return ids


def majority(ids: Ids, grid: tuple[int, int]) -> Ids:
    """Most frequent id in each cell; the lowest of equals. Interpolation would invent ids.

    Parameters
    ----------
    ids
        (h, w) int64.
    grid
        (gh, gw), neither larger than the map; pixel y belongs to row y * gh // h.

    Returns
    -------
    (gh, gw) int64, every value one of ``ids``.

    Raises
    ------
    ValueError
        The grid is finer than the map.
    """
    if grid[0] > ids.shape[0] or grid[1] > ids.shape[1]:
        raise ValueError(f"a map of {ids.shape} has no majority on a grid of {grid}")
    known, index = np.unique(ids, return_inverse=True)
    rows = np.arange(ids.shape[0]) * grid[0] // ids.shape[0]
    columns = np.arange(ids.shape[1]) * grid[1] // ids.shape[1]
    cells = rows[:, None] * grid[1] + columns
    votes = np.bincount(
        (cells * len(known) + index.reshape(ids.shape)).ravel(),
        minlength=grid[0] * grid[1] * len(known),
    )
    winners: Ids = known[votes.reshape(*grid, len(known)).argmax(axis=2)]
    return winners
