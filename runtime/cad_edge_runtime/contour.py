"""Contour: the outer border of a connected region of cells as a polygon."""

import numpy as np
from numpy.typing import NDArray

Point = tuple[int, int]
"""(x, y)."""

_RIGHT = (1, 0)


def contour(region: NDArray[np.bool_]) -> list[Point]:
    """Walk around an 8-connected region with the region on the right hand.

    At a point where two cells touch by a corner only, the walk turns left, onto the other cell, so
    that one polygon goes around all of the region; it may touch itself there. Holes are not drawn.

    Parameters
    ----------
    region
        (h, w) bool, one 8-connected region.

    Returns
    -------
    Corners (x, y) in cells, 0..w and 0..h, without points in the middle of a straight side.
    """
    padded = np.zeros((region.shape[0] + 2, region.shape[1] + 2), bool)
    padded[1:-1, 1:-1] = region
    first = int(np.flatnonzero(padded.any(axis=1))[0])
    start = (int(np.flatnonzero(padded[first])[0]), first)
    filled = padded.tolist()
    corners = [(start[0] - 1, start[1] - 1)]
    heading = _RIGHT
    point = (start[0] + 1, start[1])
    # The start is the region's topmost, leftmost corner, which the walk passes once.
    while point != start:
        turned = _turn(filled, point, heading)
        if turned != heading:
            corners.append((point[0] - 1, point[1] - 1))
        heading = turned
        point = (point[0] + heading[0], point[1] + heading[1])
    return corners


def _turn(filled: list[list[bool]], point: Point, heading: Point) -> Point:
    """Direction to leave ``point`` in, having come along ``heading``."""
    x, y = point
    right_of = (-heading[1], heading[0])
    ahead_left = _cell(filled, x, y, heading, (-right_of[0], -right_of[1]))
    ahead_right = _cell(filled, x, y, heading, right_of)
    if ahead_left:
        return -right_of[0], -right_of[1]
    if ahead_right:
        return heading
    return right_of


def _cell(filled: list[list[bool]], x: int, y: int, forward: Point, side: Point) -> bool:
    """Whether the cell that touches corner (x, y) ahead and to one side is in the region."""
    across = forward[0] + side[0]
    down = forward[1] + side[1]
    return filled[y if down > 0 else y - 1][x if across > 0 else x - 1]
