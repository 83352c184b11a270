"""A name for a set of training images that does not depend on their order."""

import hashlib
import itertools

from cad_edge_training.learned import Images, Planes


def fingerprint(images: Images, *depths: Planes) -> str:
    """sha256 over the sorted sha256 of every image (n, height, width, 3) uint8, and of planes."""
    digests = sorted(
        hashlib.sha256(one.tobytes()).digest() for one in itertools.chain(images, *depths)
    )
    return hashlib.sha256(b"".join(digests)).hexdigest()
