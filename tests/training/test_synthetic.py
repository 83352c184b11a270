import numpy as np
import pytest

from cad_edge.errors import ImageError
from cad_edge_training.synthetic import KINDS, synthetic_defects


def texture(rng: np.random.Generator, n: int = 6, side: int = 96) -> np.ndarray:
    return rng.integers(60, 200, size=(n, side, side, 3), dtype=np.uint8)


def test_equal_seeds_give_equal_defects(rng):
    images = texture(rng)
    kept = images.copy()
    first, again, other = (synthetic_defects(images, seed) for seed in (3, 3, 4))
    assert np.array_equal(images, kept)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_a_defect_does_not_depend_on_the_other_images(rng):
    images = texture(rng)
    changed = images.copy()
    changed[0] = 7
    few, many = synthetic_defects(images[:3], 1), synthetic_defects(changed, 1)
    assert np.array_equal(few[0][1:], many[0][1:3])
    assert np.array_equal(few[1][1:], many[1][1:3])


@pytest.mark.parametrize("level", [0, 20, 128, 240, 255])
def test_masks_are_small_and_cover_what_changed_visibly(level):
    images = np.full((12, 96, 128, 3), level, np.uint8)
    damaged, masks = synthetic_defects(images, 11)
    share = masks.mean(axis=(1, 2))
    assert (share > 0).all()
    assert (share < 0.1).all()
    change = np.abs(damaged.astype(int) - images).mean(axis=3)
    assert all(c[m].mean() > 20 for c, m in zip(change, masks, strict=True))
    assert change[~masks].max() < 30
    assert (change[~masks] > 0).mean() < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_image_gets_a_defect(kind, rng):
    for _ in range(20):
        out, mask = kind(texture(rng, 1, 8)[0], rng)
        assert out.shape == (8, 8, 3)
        assert mask.any()


def test_other_arrays_are_refused(rng):
    with pytest.raises(ImageError, match="float64"):
        synthetic_defects(texture(rng).astype(float), 0)
    with pytest.raises(ImageError, match="4x4 px"):
        synthetic_defects(np.zeros((1, 4, 4, 3), np.uint8), 0)
    assert synthetic_defects(np.zeros((0, 8, 8, 3), np.uint8), 0)[0].shape == (0, 8, 8, 3)
