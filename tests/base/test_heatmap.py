"""Heat maps: colour only above the given level, comparable between frames, written whole."""

import io

import numpy as np
import pytest
from PIL import Image

from cad_edge.errors import ImageError
from cad_edge.heatmap import COLOURS, encode_png, overlay, write_png


@pytest.fixture
def frame(rng):
    return rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_colours_rise_in_brightness():
    luminance = COLOURS @ np.array([0.2126, 0.7152, 0.0722])
    assert COLOURS.shape == (256, 3)
    assert (np.diff(luminance) > 0).all()


def test_nothing_is_drawn_at_or_below_low(frame):
    np.testing.assert_array_equal(overlay(frame, np.full((20, 30), 0.5, np.float32), 0.5, 1), frame)


def test_full_colour_at_and_above_high(frame):
    at, above = (overlay(frame, np.full((20, 30), top, np.float32), 0, 1) for top in (1, 9))
    np.testing.assert_array_equal(at, above)
    expected = frame * 0.25 + COLOURS[255] * 0.75
    assert abs(at - expected).max() <= 0.51


def test_the_scale_does_not_come_from_the_map(frame):
    heat = np.zeros((20, 30), np.float32)
    heat[4, 5] = 0.4
    alone = overlay(frame, heat, 0, 1)
    heat[10, 11] = 7.0
    np.testing.assert_array_equal(overlay(frame, heat, 0, 1)[4, 5], alone[4, 5])


def test_smaller_map_is_stretched(frame):
    heat = np.zeros((2, 3), np.float32)
    heat[:, 2] = 1
    drawn = overlay(frame, heat, 0, 1)
    assert drawn.shape == frame.shape
    np.testing.assert_array_equal(drawn[:, :5], frame[:, :5])
    assert (drawn[:, 25:] != frame[:, 25:]).any(axis=2).all()


def test_equal_levels_draw_a_step(frame):
    heat = np.zeros((20, 30), np.float32)
    heat[3, 3] = 2
    changed = (overlay(frame, heat, 1, 1) != frame).any(axis=2)
    assert changed[3, 3]
    assert changed.sum() == 1


@pytest.mark.parametrize("bad", [np.full((20, 30), np.nan), np.zeros((1, 20, 30))])
def test_bad_map_is_refused(frame, bad):
    with pytest.raises(ImageError, match="cannot be drawn"):
        overlay(frame, bad, 0, 1)


def test_png_holds_the_frame(frame, tmp_path):
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(frame)))), frame)
    write_png(tmp_path / "a.png", frame)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == encode_png(frame)


def test_unwritable_file_is_named(frame, tmp_path):
    with pytest.raises(ImageError, match=r"a\.png cannot be written: No such file"):
        write_png(tmp_path / "gone" / "a.png", frame)
