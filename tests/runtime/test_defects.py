"""Defects: components, outlines and their mapping onto the frame."""

import numpy as np
import pytest

from cad_edge_runtime.contour import contour
from cad_edge_runtime.defects import MOST, components, find_defects

pytestmark = pytest.mark.torchless


def flooded(mask: np.ndarray) -> np.ndarray:
    """Label 8-connected regions in reading order, cell by cell."""
    labels, count = np.zeros(mask.shape, int), 0
    for start in zip(*np.nonzero(mask), strict=True):
        if labels[start]:
            continue
        count += 1
        waiting = [start]
        while waiting:
            row, column = waiting.pop()
            inside = 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]
            if not inside or not mask[row, column] or labels[row, column]:
                continue
            labels[row, column] = count
            waiting += [(row + y, column + x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return labels


def painted(corners: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """Cells inside a polygon of horizontal and vertical sides, by counting crossings."""
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if x0 == x1:
            inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside


def filled(mask: np.ndarray) -> np.ndarray:
    """Close the holes: what cannot be reached from outside over sides of empty cells."""
    outside = np.zeros(np.add(mask.shape, 2), bool)
    empty = ~np.pad(mask, 1)
    waiting = [(0, 0)]
    while waiting:
        row, column = waiting.pop()
        if not (0 <= row < empty.shape[0] and 0 <= column < empty.shape[1]):
            continue
        if not empty[row, column] or outside[row, column]:
            continue
        outside[row, column] = True
        waiting += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return ~outside[1:-1, 1:-1]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 1.0])
def test_components_and_outlines_equal_the_slow_way(rng, share):
    for shape in ((1, 1), (1, 9), (7, 1), (12, 17)):
        mask = rng.random(shape) < share
        labels, count = components(mask)
        expected = flooded(mask)
        assert (labels == expected).all() and count == expected.max()
        for label in range(1, count + 1):
            corners = contour(labels == label)
            assert (painted(corners, shape) == filled(labels == label)).all()


def test_spiral_is_one_region():
    mask = np.zeros((41, 41), bool)
    for ring in range(0, 20, 2):
        mask[ring, ring : 41 - ring] = mask[ring : 41 - ring, 40 - ring] = True
        mask[40 - ring, ring : 41 - ring] = mask[ring + 2 : 41 - ring, ring] = True
        mask[ring + 2, ring : ring + 3] = True
    assert components(mask)[1] == 1


def test_outline_of_cells_that_touch_by_a_corner_is_one_polygon():
    corners = contour(np.eye(2, dtype=bool))
    assert corners == [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (1, 2), (1, 1), (0, 1)]


def test_defects_in_pixels_of_the_frame():
    heat = np.zeros((4, 8), np.float32)
    heat[1, 2:4], heat[3, 7] = 2.0, 3.0
    corner, bar = find_defects(heat, 1.0, 0, (40, 160))
    assert corner.box == (140, 30, 160, 40) and corner.area == 200 and corner.peak == 3.0
    assert bar.box == (40, 10, 80, 20) and bar.area == 400 and bar.peak == 2.0
    assert bar.polygon == ((40, 10), (80, 10), (80, 20), (40, 20))
    assert find_defects(heat, 1.0, 300, (40, 160)) == (bar,)
    assert find_defects(heat, 1.0, 500, (40, 160)) == ()


def test_sizes_that_do_not_divide_stay_in_the_frame():
    (defect,) = find_defects(np.ones((7, 7), np.float32), 0.5, 0, (100, 31))
    assert defect.box == (0, 0, 31, 100) and defect.area == 3100
    assert defect.polygon == ((0, 0), (31, 0), (31, 100), (0, 100))


@pytest.mark.parametrize("map_threshold", [None, 10.0])
def test_nothing_above_the_threshold_marks_the_peak(map_threshold):
    heat = np.zeros((8, 8), np.float32)
    heat[2, 2], heat[2, 3], heat[6, 6] = 4.0, 3.0, 3.5
    (defect,) = find_defects(heat, map_threshold, 0, (8, 8))
    assert defect.box == (2, 2, 4, 3) and defect.peak == 4.0


def test_flat_and_broken_maps():
    (whole,) = find_defects(np.ones((4, 4), np.float32), None, 0, (4, 4))
    assert whole.area == 16
    assert find_defects(np.full((4, 4), np.nan, np.float32), 1.0, 0, (4, 4)) == ()
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0], heat[3, 3] = np.nan, np.inf
    (peak,) = find_defects(heat, 1.0, 0, (4, 4))
    assert peak.box == (3, 3, 4, 4) and np.isfinite(peak.peak)


def test_of_thousands_of_specks_the_worst_are_listed():
    heat = np.zeros((224, 224), np.float32)
    heat[::2, ::2] = np.arange(112 * 112).reshape(112, 112) + 1
    found = find_defects(heat, 0.5, 0, (224, 224))
    assert [defect.peak for defect in found] == list(range(112 * 112, 112 * 112 - MOST, -1))
    assert find_defects(heat, 0.5, 2, (224, 224)) == ()
