"""Copies are found however they were changed, and what only looks alike is no copy."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from pathlib import Path

from cad_edge.data.image import ImageRecipe
from cad_edge_training.check.contrast_pyramid import ContrastPyramid
from cad_edge_training.check.copies import Copies, copy_findings, find_copies
from cad_edge_training.check.files import DecodedImage, ImageSource, decode_images
from cad_edge_training.check.near_copies import NearCopy, near_copies
from cad_edge_training.check.registration import AxisOverlap, Registration
from tests.training.check_samples import COPIES, encoded, part, surface, write


def pairs(pictures, learned=None):
    seen = [ContrastPyramid(np.ascontiguousarray(pixels)) for pixels in pictures]
    return [(one.first, one.second) for one in near_copies(seen, learned or len(seen))]


def seen(folder: Path, pictures, learned=True, label="good") -> list[DecodedImage]:
    paths = write(folder, pictures)
    sources = [ImageSource(path, learned, label, number) for number, path in enumerate(paths)]
    if not learned:
        sources = [ImageSource(one.path, False, label, 1000 + one.part) for one in sources]
    return decode_images(sources, ImageRecipe(width=64, height=64), lambda done: None)


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_of_a_surface_is_found_among_its_likes(rng, change):
    pictures = [surface(rng) for _ in range(6)]
    assert pairs([*pictures, COPIES[change](pictures[2])]) == [(2, 6)]


def test_draws_of_one_texture_are_no_copies(rng):
    assert pairs([surface(rng) for _ in range(10)]) == []


def test_photographs_of_a_part_that_lies_still_are_no_copies(rng):
    """They agree nearly everywhere; what is left once that is taken off is noise."""
    pictures = [part(rng, level) for level in np.linspace(-5, 5, 12)]
    assert pairs(pictures) == []


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_among_parts_that_lie_in_one_place(rng, change):
    pictures = [part(rng, level, grain=6.0) for level in np.linspace(-5, 5, 12)]
    assert pairs([*pictures, COPIES[change](pictures[5])]) == [(5, 12)]


def test_straight_edges_tell_nothing(rng):
    """Two boards with one straight edge agree wherever they come from."""
    pictures = []
    for place in (60, 64, 90, 140, 143):
        pixels = np.full((224, 224, 3), 20, np.uint8)
        pixels[:, place:] = 230
        pictures.append(pixels)
    assert pairs(pictures) == []


def test_small_pictures(rng):
    pictures = [surface(rng, side=64) for _ in range(5)]
    assert pairs([*pictures, encoded(pictures[1], 90)]) == [(1, 5)]
    assert pairs(pictures[:1]) == [] and pairs([]) == []


def test_copies_of_copies_are_one_cluster(rng, tmp_path):
    first = surface(rng)
    train = seen(tmp_path / "train", [first, surface(rng), encoded(first), first])
    copies = find_copies(train, [])
    assert copies.clusters() == ((0, 2, 3),) and copies.exact == {(0, 3)}
    assert copies.distinct(4) == 2
    (found,) = copy_findings("plate", tmp_path, (train, []), copies, None)
    assert (found.kind, found.level) == ("copies", "warning")
    assert found.said.startswith("3 of 4 good images show 1 picture, each more than once")
    assert found.exhibits[0].images == tuple(train[number].source.path for number in (0, 2, 3))


def test_leaks_name_the_two_files(rng, tmp_path):
    pictures = [surface(rng) for _ in range(4)]
    train = seen(tmp_path / "train", pictures)
    test = seen(tmp_path / "test", [surface(rng), encoded(pictures[3])], False, "scratch")
    copies = find_copies(train, test)
    (found,) = copy_findings("plate", tmp_path, (train, test), copies, None)
    assert (found.kind, found.level) == ("leak", "error")
    assert found.said.startswith(
        "1 test image is in training too, 1 of them defective by the test (test/001.png is "
        "train/003.png)"
    )
    assert found.exhibits[0].figures["correlation"] > 0.9
    assert copies.distinct(4) == 4


def test_what_joins_two_good_parts_in_the_test_joins_nothing_in_training(rng, tmp_path):
    first, second, third = (surface(rng) for _ in range(3))
    train = seen(tmp_path / "train", [first, second, third])
    test = seen(tmp_path / "test", [first], False)
    pair = find_copies(train, test).near
    assert pair == ()
    fit = Registration(AxisOverlap(), AxisOverlap(), 1.0)
    joined = Copies(3, frozenset({(0, 3)}), (NearCopy(1, 3, fit, 0.95),))
    assert joined.clusters() == ((0, 1, 3),)
    assert joined.learned() == () and joined.distinct(3) == 3
    (found,) = copy_findings("plate", tmp_path, (train, test), joined, ("a", "b", "c"))
    assert found.kind == "leak" and len(found.exhibits[0].images) == 3


def test_test_images_are_not_compared_with_each_other(rng, tmp_path):
    twice = surface(rng)
    train = seen(tmp_path / "train", [surface(rng) for _ in range(3)])
    test = seen(tmp_path / "test", [twice, twice, encoded(twice)], False)
    assert find_copies(train, test).clusters() == ()


def test_copies_in_several_groups(rng, tmp_path):
    first = surface(rng)
    train = seen(tmp_path / "train", [first, surface(rng), first])
    copies = find_copies(train, [])

    def kinds(groups):
        found = copy_findings("plate", tmp_path, (train, []), copies, groups)
        return [one.kind for one in found]

    assert kinds(("a", "b", "b")) == ["copies_across_groups", "copies"]
    assert kinds(("a", "b", "a")) == ["copies"]


def test_views_of_one_part_are_no_copies_of_each_other(rng, tmp_path):
    first = surface(rng)
    paths = write(tmp_path, [first, encoded(first), surface(rng)])
    sources = [ImageSource(path, True, "good", part=0) for path in paths]
    train = decode_images(sources, ImageRecipe(width=64, height=64), lambda done: None)
    assert find_copies(train, []).clusters() == ()


def test_flat_and_equal_pictures(tmp_path):
    flat = [np.full((64, 64, 3), level, np.uint8) for level in (0, 0, 90, 200)]
    train = seen(tmp_path / "flat", flat)
    assert find_copies(train, []).clusters() == ((0, 1),)
    equal = seen(tmp_path / "equal", [flat[2]] * 5)
    assert find_copies(equal, []).distinct(5) == 1
