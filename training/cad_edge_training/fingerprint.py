"""A name for a set of training images that does not depend on their order."""

import hashlib

from cad_edge_training.learned import Images


def fingerprint(images: Images) -> str:
    """sha256 over the sorted sha256 of every image (n, height, width, 3) uint8."""
    digests = sorted(hashlib.sha256(image.tobytes()).digest() for image in images)
    return hashlib.sha256(b"".join(digests)).hexdigest()
