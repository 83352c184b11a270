"""The descriptor of a frame in a size that a task can afford: a count sketch for wide networks.

A task stores the scatter of its descriptors, which grows with their square. Those of a network that
is wider than `WIDEST` are summed up in `GROUPS` groups, each number with a fixed sign (Charikar,
Chen and Farach-Colton, 2002). That is linear, so mean and scatter of sketches are the sketch's of
mean and scatter, and the discriminant stays exact on what it is given.
"""

import numpy as np
import torch
from torch import Tensor

WIDEST = 1536  # numbers of a descriptor that stay as they are: those of a network 768 wide
GROUPS = 256

Index = np.ndarray[tuple[int], np.dtype[np.int64]]
Words = np.ndarray[tuple[int], np.dtype[np.uint64]]


def compact(descriptor: Tensor) -> Tensor:
    """Sum up a descriptor that is too wide.

    Parameters
    ----------
    descriptor
        (batch, d) float32.

    Returns
    -------
    Tensor
        The same for d <= 1536, otherwise its sketch (batch, 256).
    """
    width = descriptor.shape[1]
    if width <= WIDEST:
        return descriptor
    order, signs = groups_of(width)
    places = torch.from_numpy(order).to(descriptor.device)
    signed = descriptor[:, places] * torch.from_numpy(signs).to(descriptor)
    padded = torch.nn.functional.pad(signed, (0, -width % GROUPS))
    return padded.reshape(descriptor.shape[0], -1, GROUPS).sum(1)


def groups_of(width: int) -> tuple[Index, np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Where every number of a descriptor goes: the same on every machine and for ever.

    Returns
    -------
    tuple
        An order (width,) of the numbers, whose entries n, n + 256, n + 512 ... form group n; and a
        sign for each of them in that order, 1 or -1.
    """
    words = _scrambled(np.arange(width, dtype=np.uint64))
    order = np.argsort(words, kind="stable")
    odd = _scrambled(words[order]) & np.uint64(1)
    return order, (1 - 2 * odd.astype(np.int64)).astype(np.float32)


def _scrambled(words: Words) -> Words:
    """Splitmix64 (Steele, Lea and Flood, 2014) of every word; no library's generator can change it.

    Parameters
    ----------
    words
        (n,) uint64; sums and products wrap around.
    """
    words = words + np.uint64(0x9E37_79B9_7F4A_7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return words ^ (words >> np.uint64(31))
