"""The published key set (CMPMB, Sec. 3; UCAD): patches of the frozen trunk that stand for a task.

A frame belongs to the task whose keys are nearest in sum over its patches. Kept as an option beside
the discriminant of the house; the sum is a mean here, so that it does not grow with the grid.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cad_edge_training.folds import Folds
from cad_edge_training.memory_bank import k_center, nearest_distance

Float32 = np.ndarray[Any, np.dtype[np.float32]]


def held_out_keys(patches: Tensor, folds: Folds, count: int, seed: int) -> tuple[Float32, Float32]:
    """Keys of all images, and the distance of every held-out image to keys without its fold.

    Parameters
    ----------
    patches
        (n, n_patches, channels) float32 of the un-prompted trunk.

    Returns
    -------
    tuple
        keys (n_keys, channels) and distances (n_held_out,), float32.
    """
    distances = []
    for fitted, held in folds.splits():
        keys = _keys(patches[torch.from_numpy(fitted)], count, seed)
        distances.append(nearest_distance(patches[torch.from_numpy(held)], keys).mean(dim=1))
    keys = _keys(patches[torch.from_numpy(folds.learned())], count, seed)
    return keys.numpy(), torch.cat(distances).numpy()


def _keys(patches: Tensor, count: int, seed: int) -> Tensor:
    flat = patches.flatten(0, 1)
    generator = torch.Generator().manual_seed(seed)
    if len(flat) > MAX_PATCHES:
        flat = flat[torch.randperm(len(flat), generator=generator)[:MAX_PATCHES]]
    return flat[k_center(flat, count, generator)].clone()


MAX_PATCHES = 50_000  # k-centre walks all of them once per key
