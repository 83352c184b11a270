"""A name for a set of training images that does not depend on their order."""

import hashlib
import itertools

import numpy as np

from cad_edge_training.learned import Images, LearningRequest, Planes


def fingerprint(images: Images, *depths: Planes) -> str:
    """sha256 over the sorted sha256 of every image (n, height, width, 3) uint8, and of planes."""
    digests = sorted(
        hashlib.sha256(one.tobytes()).digest() for one in itertools.chain(images, *depths)
    )
    return hashlib.sha256(b"".join(digests)).hexdigest()


def data_sha256(request: LearningRequest) -> str:
    """Name what a task is learned from: images, and depth where it is looked at."""
    shown = np.concatenate([request.images, request.defective])
    return fingerprint(shown, *([] if request.depth is None else [request.depth]))
