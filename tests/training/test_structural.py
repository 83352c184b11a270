"""Structural defects: good pieces at wrong places, on parts whose arrangement is known."""

from functools import cache

import numpy as np
import pytest

from cad_edge.errors import ImageError
from cad_edge_training.structural import (
    STRUCTURAL,
    displaced,
    replaced,
    structural_defects,
    swapped,
)
from cad_edge_training.synthetic import KINDS

PLATE, SCREW = 90, 200


def part(side: int = 48) -> np.ndarray:
    """A plate with one screw of a quarter of its side, up and left of the middle."""
    image = np.full((side, side, 3), PLATE, np.uint8)
    image[side // 4 : side // 2, side // 4 : side // 2] = SCREW
    return image


@cache
def drawn(kind) -> list[tuple[np.ndarray, np.ndarray]]:
    return [kind(part(), part(), np.random.default_rng(seed)) for seed in range(8)]


def screws(image: np.ndarray) -> float:
    """Area that is as bright as a screw, in screws."""
    return float((image[..., 0] == SCREW).sum() / (part()[..., 0] == SCREW).sum())


@pytest.mark.parametrize("kind", STRUCTURAL)
def test_arrangement_changes_and_hardly_a_pixel_is_of_no_good_part(kind):
    """A soft edge over a step makes grey levels that no part has; a cut_paste makes many."""
    strange = []
    for image, mask in drawn(kind):
        assert (image != part()).any() and mask.any()
        strange.append(np.mean(~np.isin(image, (PLATE, SCREW))))
    assert np.mean(strange) < 0.015
    assert max(strange) < 0.03


def test_an_element_goes_or_comes():
    found = [screws(image) for image, _ in drawn(replaced)]
    assert min(found) < 0.5 and max(found) > 1.5


def test_what_changes_places_is_all_still_there():
    for image, _ in drawn(swapped):
        assert screws(image) == pytest.approx(1, abs=0.15)
        assert not (image[12:24, 12:24] == SCREW).all()


def test_what_moves_stays_near():
    """A region at most half of 0.1 of the area times three in side, sqrt(0.1 * 3) * 48 / 2 px."""
    for image, mask in drawn(displaced):
        rows, columns = np.nonzero((image != part()).any(axis=2))
        assert mask.sum() <= 0.1 * 48 * 48 + 96
        assert (np.abs(rows - 17.5) <= 6 + 14 + 14).all()
        assert (np.abs(columns - 17.5) <= 6 + 14 + 14).all()


def test_outside_of_a_region_nothing_changes(rng):
    images = rng.integers(0, 255, (6, 64, 80, 3), dtype=np.uint8)
    changed, masks = structural_defects(images, images[::-1], 1)
    for before, after, mask in zip(images, changed, masks, strict=True):
        different = (before != after).any(axis=2)
        assert 0 < mask.mean() < 0.25
        assert (different & mask).sum() > 0.9 * mask.sum()
        assert (different & ~mask).sum() < 0.6 * mask.sum()


def test_equal_seeds_give_equal_defects_whatever_is_beside_them(rng):
    images = rng.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    others = images[::-1].copy()
    first, again, other = (structural_defects(images, others, seed) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    few = structural_defects(images[:2], others[:2], 3)
    assert np.array_equal(few[0], first[0][:2])


@pytest.mark.parametrize("kind", STRUCTURAL)
@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 97, 3), (61, 50, 3)])
def test_any_allowed_shape_gets_a_defect(kind, shape, rng):
    for _ in range(5):
        image = rng.integers(0, 255, shape, dtype=np.uint8)
        out, mask = kind(image, image[::-1].copy(), rng)
        assert out.shape == shape and out.dtype == np.uint8 and mask.any()


def test_other_arrays_are_refused(rng):
    images = rng.integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match="4x4 px"):
        structural_defects(images[:, :4, :4], images[:, :4, :4], 0)
    with pytest.raises(ImageError, match=r"give them as the images, uint8 of shape \(2, 16, 16"):
        structural_defects(images, images[:1], 0)


def test_they_are_not_among_the_local_ones():
    """Certificates and normalisation draw from those, and must not change."""
    assert [kind.__name__ for kind in KINDS] == ["cut_paste", "scratch", "blot"]
    assert not set(KINDS) & set(STRUCTURAL)
