"""Image files that cannot be used: each is refused in one sentence that names it."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.image import as_rgb, decode_image, decode_pixels, image_size
from cad_edge.data.image_limits import require_max_pixels
from cad_edge.errors import ImageError, OptionError
from tests.base.picture_files import save


def test_missing(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        decode_image(tmp_path / "gone.png")


def test_folder(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        decode_image(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_no_image(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png cannot be read"):
        decode_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tiff", "a.webp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated(tmp_path, rng, name, share):
    noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path, name, Image.fromarray(noise))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match=r"a\.\w+ cannot be read"):
        decode_image(path)


def test_flipped_byte(tmp_path, colour):
    path = save(tmp_path, "a.png", Image.fromarray(colour))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ImageError, match="it is truncated or damaged"):
        decode_image(path)


def test_format_that_is_not_accepted(tmp_path, grey):
    path = save(tmp_path, "a.png", Image.fromarray(grey), format="GIF")
    with pytest.raises(ImageError, match="PNG, JPEG, BMP, TIFF, WebP or PGM"):
        decode_image(path)


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_too_small(tmp_path, size):
    path = save(tmp_path, "a.png", Image.new("L", size))
    with pytest.raises(ImageError, match=rf"a\.png is {size[0]}x{size[1]} px"):
        decode_image(path)


@pytest.mark.parametrize("size", [(10_000, 9_000), (20_000, 10_000)])
def test_too_large_is_refused_before_decoding(tmp_path, size):
    path = save(tmp_path, "a.png", Image.new("1", size))
    with pytest.raises(ImageError, match=r"a\.png has more than 89 megapixels"):
        decode_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.jpg", "a.webp", "a.ppm"])
def test_the_caller_sets_another_limit(tmp_path, colour, name):
    path = save(tmp_path, name, Image.fromarray(colour))
    count = colour.shape[0] * colour.shape[1]
    for read in (decode_image, decode_pixels, image_size):
        read(path, max_pixels=count)
        with pytest.raises(ImageError, match=f"has more than {count - 1} pixels; crop it"):
            read(path, max_pixels=count - 1)
    with pytest.raises(ImageError, match="the image array has more than"):
        as_rgb(colour, max_pixels=count - 1)


def test_a_higher_limit_than_that_of_pillow(tmp_path, monkeypatch, colour):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for name in ("a.png", "a.tif", "a.bmp", "a.jpg", "a.webp"):
        path = save(tmp_path, name, Image.fromarray(colour))
        assert decode_image(path).shape == colour.shape


@pytest.mark.parametrize("wrong", [0, -1, 63, True, 1e6, "89", None, [5]])
def test_limits_that_are_none(tmp_path, colour, wrong):
    path = save(tmp_path, "a.png", Image.fromarray(colour))
    for call in (
        lambda: require_max_pixels(wrong),
        lambda: decode_image(path, max_pixels=wrong),
        lambda: image_size(path, max_pixels=wrong),
        lambda: as_rgb(colour, max_pixels=wrong),
    ):
        with pytest.raises(OptionError, match=r"max_pixels is .*; give"):
            call()


def test_limit_holds_where_pillow_has_none(tmp_path, monkeypatch):
    path = save(tmp_path, "a.png", Image.new("1", (10_000, 9_000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="more than 89 megapixels"):
        decode_image(path)


@pytest.mark.parametrize("name", ["a.png", "a\nb.png", "\udcff.png", "a" * 250 + ".png"])
def test_every_refusal_is_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImageError) as caught:
        decode_image(tmp_path / name)
    said = str(caught.value)
    assert said.isprintable() and len(said) < 600


def test_a_name_of_any_length():
    with pytest.raises(ImageError) as caught:
        decode_image(Path("a" * 100_000))
    assert len(str(caught.value)) < 600


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (decode_image, image_size):
        with pytest.raises(ImageError, match="it is a pipe or a device, not a file"):
            read(tmp_path / "a.png")
