"""Procedural images and defects: seeded, defective where they say so, described as they are."""

import numpy as np
import pytest

from cad_edge_studies.embedded_language_model.defects import DEFECTS, add_defect
from cad_edge_studies.embedded_language_model.parts import PARTS, part
from cad_edge_studies.embedded_language_model.scenes import (
    SMALLEST,
    colour_name,
    place_name,
    scene_pair,
    size_name,
)
from cad_edge_studies.embedded_language_model.surfaces import SIDE, SURFACES, board, surface


@pytest.fixture(scope="module")
def pairs():
    return [scene_pair(4, index) for index in range(16)]


def test_a_scene_depends_on_its_seed_and_number_only(pairs):
    again = scene_pair(4, 9)
    for first, second in zip(pairs[9], again, strict=True):
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.mask, second.mask)
        assert first[1:4] == second[1:4]
    assert not np.array_equal(scene_pair(5, 9)[0].image, again[0].image)
    assert not np.array_equal(pairs[8][0].image, again[0].image)


def test_a_pair_differs_by_the_defect_only(pairs):
    for good, bad in pairs:
        assert good.image.shape == bad.image.shape == (SIDE, SIDE, 3)
        assert good.image.dtype == bad.image.dtype == np.uint8
        assert good.defect is None and not good.mask.any() and bad.defect is not None
        assert (good.name, good.colour) == (bad.name, bad.colour)
        change = np.abs(good.image.astype(int) - bad.image).mean(axis=2)
        assert change[bad.mask].mean() > 5 * max(change[~bad.mask].mean(), 0.1)
        assert bad.defect.place == place_name(bad.mask)
        assert bad.defect.size == size_name(bad.mask)


def test_defects_are_large_enough_to_be_seen(pairs):
    assert sum(bad.mask.sum() >= SMALLEST for _, bad in pairs) >= 15


@pytest.mark.parametrize("kind", DEFECTS)
def test_every_kind_damages_the_part_and_not_its_table(kind, rng):
    picture = part(rng)
    before = picture.pixels.copy()
    found = 0
    for _ in range(5):
        pixels, mask = add_defect(picture, kind, 1.0, rng)
        assert pixels.shape == before.shape and pixels.dtype == np.float32
        found += bool(mask.any())
        if kind != "thread":
            np.testing.assert_array_equal(pixels[~picture.body], before[~picture.body])
            assert not mask[~picture.body].any()
    assert found  # a patch may be no different from what it hides, but not always
    np.testing.assert_array_equal(picture.pixels, before)


def test_a_weaker_defect_changes_less(rng):
    picture = surface(rng)
    plain, _ = add_defect(picture, "stain", 1.0, np.random.default_rng(3))
    faint, _ = add_defect(picture, "stain", 0.5, np.random.default_rng(3))
    np.testing.assert_allclose(
        faint - picture.pixels, 0.5 * (plain - picture.pixels), rtol=1e-3, atol=1e-2
    )


@pytest.mark.parametrize("name", SURFACES)
def test_every_surface_fills_the_image(name, rng):
    field = SURFACES[name](rng)
    assert field.shape == (SIDE, SIDE) and np.isfinite(field).all() and field.std() > 0.01


@pytest.mark.parametrize("name", PARTS)
def test_every_part_has_an_outline(name, rng):
    shapes = PARTS[name](rng)
    assert all(len(outline) > 2 for outline, _ in shapes)
    assert max(abs(value) for outline, _ in shapes for point in outline for value in point) < 1.1


@pytest.mark.parametrize("draw", [surface, part, board])
def test_pictures_hold_a_part(draw, rng):
    picture = draw(rng)
    assert picture.pixels.shape == (SIDE, SIDE, 3) and np.isfinite(picture.pixels).all()
    assert picture.body.mean() > 0.02 and picture.behind.shape == (3,)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((20, 20, 25), "black"),
        ((90, 90, 90), "dark grey"),
        ((140, 138, 135), "grey"),
        ((220, 220, 215), "light grey"),
        ((200, 30, 30), "red"),
        ((120, 80, 30), "brown"),
        ((250, 170, 60), "orange"),
        ((220, 210, 60), "yellow"),
        ((40, 140, 60), "green"),
        ((40, 60, 160), "blue"),
        ((150, 60, 190), "purple"),
    ],
)
def test_colours_have_names(rgb, name):
    assert colour_name(np.array(rgb, float)) == name


def test_places_and_sizes_have_names():
    mask = np.zeros((90, 90), bool)
    assert place_name(mask) == "centre" and size_name(mask) == "small"
    mask[2:10, 80:88] = True
    assert place_name(mask) == "upper right" and size_name(mask) == "small"
    mask[:] = False
    mask[85, 20:50] = True
    assert place_name(mask) == "lower middle" and size_name(mask) == "medium"
    mask[85, :] = True
    assert size_name(mask) == "large"
