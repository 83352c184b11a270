"""Frames of a part that lies still: pictures that are equal in place but for noise and brightness.

`near_copies` asks whether two pictures share their noise, as copies of one file do. The next frame
of a camera has noise of its own, and little else tells it from the one before. So pictures are
averaged over blocks, which takes off most noise, and compared as they lie. Those count as frames of
one part that are nearer to each other than parts of the product ever are: far below what is usual
between its pictures, below what any two photographs of different parts differ by, and with a gap
to all other pictures, so that a light that drifts does not chain them together.

In nine categories of parts (docs/check.md) no two photographs of different parts come nearer than
`NEAR` and `USUAL`: the nearest are 0.064 apart, and 0.107 of the usual.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from cad_edge_training.check.contrast_pyramid import ContrastPyramid

NEAR = 0.05  # length of the difference of two pictures of mean 0 and length 1
USUAL = 0.08  # of the median distance of pictures that are no frames of one part
GAP = 2.0  # nearest other picture, in units of the widest step within the frames
ALWAYS = 0.008  # that near to each other pictures are of one part whatever is usual
STILL = 0.03  # where all keep to it, they could be of one part, or of parts that never vary


def distances(pictures: Sequence[ContrastPyramid]) -> NDArray[np.float32]:
    """Distances (n, n) of pictures in place, brightness and contrast aside; 0 to 2."""
    blocks = np.stack([picture.blocks.ravel() for picture in pictures])
    blocks = blocks - blocks.mean(axis=1, keepdims=True)
    blocks /= np.linalg.norm(blocks, axis=1, keepdims=True).clip(1e-6)
    squares = 2.0 - 2.0 * (blocks @ blocks.T)
    apart: NDArray[np.float32] = np.sqrt(squares.clip(0.0))
    np.fill_diagonal(apart, 0.0)
    return apart


def still_frames(apart: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs of frames of one part, each with the first frame of it.

    Parameters
    ----------
    apart
        (n, n) from `distances`, of training pictures alone.
    """
    near = max(ALWAYS, min(NEAR, USUAL * _usual(apart)))
    _, members = connected_components(apart < near, directed=False)
    found = []
    for number in np.flatnonzero(np.bincount(members) > 1):
        inside, others = np.flatnonzero(members == number), np.flatnonzero(members != number)
        to_others = apart[np.ix_(inside, others)].min(initial=2.0)
        if to_others >= GAP * _widest_step(apart[np.ix_(inside, inside)]):
            first, *rest = inside.tolist()
            found += [(first, further) for further in rest]
    return sorted(found)


def _usual(apart: NDArray[np.float32]) -> float:
    """Median distance between pictures, of those that could be frames of one part the first."""
    _, members = connected_components(apart < NEAR, directed=False)
    _, firsts = np.unique(members, return_index=True)
    pairs = apart[np.ix_(firsts, firsts)][np.triu_indices(len(firsts), 1)]
    return float(np.median(pairs)) if len(pairs) else 0.0


def nothing_varies(apart: NDArray[np.float32]) -> bool:
    """Whether all pictures (n, n) are as near to each other as frames of one part."""
    return len(apart) > 1 and bool(apart.max() < STILL)


def _widest_step(apart: NDArray[np.float32]) -> float:
    """Longest edge of the tree that joins pictures (m, m) by the shortest edges."""
    # An edge of length 0 would be none.
    return float(minimum_spanning_tree(apart.astype(np.float64) + 1e-9).max())
