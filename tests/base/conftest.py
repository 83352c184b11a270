"""Small pictures that several tests of image files draw."""

import numpy as np
import pytest

SIDE = 12  # pixels


@pytest.fixture
def colour(rng) -> np.ndarray:
    """(12, 16, 3) uint8 of noise."""
    return rng.integers(0, 256, (SIDE, SIDE + 4, 3), dtype=np.uint8)


@pytest.fixture
def grey(rng) -> np.ndarray:
    """(12, 16) uint8 of noise."""
    return rng.integers(0, 256, (SIDE, SIDE + 4), dtype=np.uint8)
