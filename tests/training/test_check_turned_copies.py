"""Copies that offline augmentation makes: mirrored, turned by quarters, and turned by degrees."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from PIL import Image

from cad_edge_training.check.copies import find_copies
from cad_edge_training.check.turns import FLIPS, SMALL_TURNS, Turn, turned
from tests.training.check_samples import encoded, part, surface
from tests.training.test_check_copies import seen


def rotated(degrees):
    def change(pixels):
        image = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC)
        return np.asarray(image)

    return change


def test_a_turn_is_undone_by_its_inverse(rng):
    plane = rng.normal(size=(16, 16)).astype(np.float32)
    for turn in FLIPS:
        assert np.array_equal(turned(turned(plane, turn, 1.0), turn.inverse(), 1.0), plane)
        assert turn.after(turn) == Turn()
    for turn in SMALL_TURNS:
        assert turn.inverse() == Turn(degrees=-turn.degrees)


TURNED = {
    "mirrored": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1],
    "half a turn": lambda pixels: pixels[::-1, ::-1],
    "a quarter": lambda pixels: np.rot90(pixels),
    "three quarters, encoded": lambda pixels: encoded(np.rot90(pixels, 3).copy(), 90),
    "transposed": lambda pixels: pixels.transpose(1, 0, 2),
    **{f"{degrees} degrees": rotated(degrees) for degrees in (-3, -1.5, 1, 2)},
}


@pytest.mark.parametrize("change", TURNED)
def test_a_turned_copy_of_a_surface_is_found_among_its_likes(rng, tmp_path, change):
    pictures = [surface(rng) for _ in range(6)]
    copies = find_copies(seen(tmp_path, [*pictures, TURNED[change](pictures[2]).copy()]), [])
    assert copies.learned() == ((2, 6),)


@pytest.mark.parametrize("change", [name for name in TURNED if name != "three quarters, encoded"])
def test_a_set_of_turned_copies_is_as_many_parts_as_before(rng, tmp_path, change):
    pictures = [part(rng, level, grain=6.0) for level in np.linspace(-5, 5, 10)]
    both = [*pictures, *(TURNED[change](one).copy() for one in pictures)]
    copies = find_copies(seen(tmp_path, both), [])
    assert copies.learned() == tuple((number, number + 10) for number in range(10))


@pytest.mark.parametrize("shift", [(2, 3), (1, -3)])
def test_a_set_of_shifted_copies_of_parts_that_lie_in_one_place(rng, tmp_path, shift):
    pictures = [part(rng, level, grain=6.0) for level in np.linspace(-5, 5, 10)]
    both = [*pictures, *(np.roll(one, shift, (0, 1)) for one in pictures)]
    copies = find_copies(seen(tmp_path, both), [])
    assert copies.learned() == tuple((number, number + 10) for number in range(10))


def test_parts_that_lie_at_several_angles_are_no_copies(rng, tmp_path):
    pictures = [
        rotated(degrees)(part(rng, degrees, grain=3.0)) for degrees in np.linspace(-3, 3, 12)
    ]
    found = find_copies(seen(tmp_path, pictures), []).near
    assert [one for one in found if not one.turn.upright] == []
