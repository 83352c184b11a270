"""Defects: where on the part the anomaly map is too high, in pixels of the original frame.

Cells of the map above the task's map threshold, joined with their eight neighbours, form a defect.
A cell stands for a rectangle of the frame, so box, outline and area are exact for the cells and as
coarse as the map.

Where the verdict is anomalous and no cell is above the threshold (the score is not the map's
largest value for every method), or there is no map threshold, the region around the peak is marked:
the cells joined to it that exceed the middle between the map's median and its peak.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cad_edge_runtime.contour import Point, contour

_FORWARD = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Half of the eight neighbours (row, column); the other half are these seen from the other side."""

MOST = 256
"""Defects listed of one frame; a frame with more is spoilt as a whole."""

_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class Defect:
    """One connected region, in pixels of the original frame.

    Examples
    --------
    >>> defect = Defect((4, 2, 6, 5), ((4, 2), (6, 2), (6, 5), (4, 5)), 6, 3.5)
    >>> defect.to_dict()["box"], defect.area
    ([4, 2, 6, 5], 6)
    """

    box: tuple[int, int, int, int]
    """left, top, right, bottom; right and bottom are exclusive."""

    polygon: tuple[Point, ...]
    """Outer outline as (x, y) corners, clockwise on the screen."""

    area: int
    """Square pixels."""

    peak: float
    """Largest map value inside."""

    def to_dict(self) -> dict[str, object]:
        """Plain lists and numbers."""
        return {
            "box": list(self.box),
            "area": self.area,
            "peak": self.peak,
            "polygon": [list(point) for point in self.polygon],
        }


def find_defects(
    anomaly_map: NDArray[np.float32],
    map_threshold: float | None,
    minimum_area: int,
    size: tuple[int, int],
) -> tuple[Defect, ...]:
    """Mark the defects of an anomalous frame, the largest peak first, at most `MOST`.

    Parameters
    ----------
    anomaly_map
        (h, w) float32, covering the whole frame.
    map_threshold
        A value above it belongs to a defect; None marks the region around the peak.
    minimum_area
        Smaller regions, in original pixels, are left out.
    size
        (height, width) of the original frame.
    """
    heat = np.nan_to_num(anomaly_map, nan=-np.inf, posinf=float(_LARGEST), neginf=-np.inf)
    above = heat > map_threshold if map_threshold is not None else np.zeros(heat.shape, bool)
    if above.any():
        labels, count = components(above)
    else:
        labels, count = _around_peak(heat)
    return _worst(labels, count, heat, minimum_area, size)


def _worst(
    labels: NDArray[np.intp],
    count: int,
    heat: NDArray[np.float32],
    minimum_area: int,
    size: tuple[int, int],
) -> tuple[Defect, ...]:
    """Measure the regions with the largest peaks, chosen in one pass over the map."""
    cell = (size[0] / heat.shape[0]) * (size[1] / heat.shape[1])
    rows, columns = np.nonzero(labels)
    label = labels[rows, columns] - 1
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, label, heat[rows, columns])
    counts = np.bincount(label, minlength=count)
    large = counts * cell >= minimum_area
    worst = [number for number in np.argsort(-peaks, kind="stable") if large[number]][:MOST]
    grouped = np.stack([rows, columns])[:, np.argsort(label, kind="stable")]
    ends = np.cumsum(counts)
    return tuple(
        _defect(
            grouped[:, ends[number] - counts[number] : ends[number]],
            float(peaks[number]),
            heat.shape,
            size,
        )
        for number in worst
    )


def _around_peak(heat: NDArray[np.float32]) -> tuple[NDArray[np.intp], int]:
    """Label the region around the largest value 1."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    peak = heat[row, column]
    if peak == -np.inf:
        return np.zeros(heat.shape, np.intp), 0
    middle = (float(np.median(heat)) + float(peak)) / 2
    labels, _ = components((heat > middle) | (heat >= peak))
    return (labels == labels[row, column]).astype(np.intp), 1


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], int]:
    """Label the 8-connected regions of ``mask``.

    Every cell starts as its own root; both roots of a touching pair take the smaller one, and
    paths are halved until nothing changes: a handful of vectorised rounds whatever the shape.

    Parameters
    ----------
    mask
        (h, w) bool.

    Returns
    -------
    labels (h, w), 0 outside and 1..count inside in reading order, and the count.
    """
    height, width = mask.shape
    index = np.full((height + 1, width + 2), -1, np.intp)
    inside = index[:height, 1 : width + 1]
    total = int(mask.sum())
    inside[mask] = np.arange(total)
    own = inside[mask]
    rows, columns = np.nonzero(mask)
    pairs = []
    for down, right in _FORWARD:
        other = index[rows + down, columns + 1 + right]
        touching = other >= 0
        pairs.append(np.stack([own[touching], other[touching]]))
    roots = _joined(np.concatenate(pairs, axis=1), total)
    _, numbers = np.unique(roots, return_inverse=True)
    labels = np.zeros(mask.shape, np.intp)
    labels[mask] = numbers + 1
    return labels, int(numbers.max(initial=-1)) + 1


def _joined(pairs: NDArray[np.intp], total: int) -> NDArray[np.intp]:
    """Smallest member of the group of each of ``total`` cells; ``pairs`` (2, n) touch."""
    parent = np.arange(total)
    while True:
        first, second = parent[pairs[0]], parent[pairs[1]]
        apart = first != second
        if not apart.any():
            return parent
        low = np.minimum(first, second)[apart]
        high = np.maximum(first, second)[apart]
        np.minimum.at(parent, high, low)
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]


def _defect(
    cells: NDArray[np.intp], peak: float, shape: tuple[int, ...], size: tuple[int, int]
) -> Defect:
    """Measure one region, cells (2, n) of a map of ``shape``, in pixels of the frame."""
    top, left = (int(value) for value in cells.min(axis=1))
    bottom, right = (int(value) + 1 for value in cells.max(axis=1))
    region = np.zeros((bottom - top, right - left), bool)
    region[cells[0] - top, cells[1] - left] = True
    tall, wide = size[0] / shape[0], size[1] / shape[1]
    return Defect(
        box=(
            math.floor(left * wide),
            math.floor(top * tall),
            min(math.ceil(right * wide), size[1]),
            min(math.ceil(bottom * tall), size[0]),
        ),
        polygon=tuple(
            (round((x + left) * wide), round((y + top) * tall)) for x, y in contour(region)
        ),
        area=round(cells.shape[1] * tall * wide),
        peak=peak,
    )
