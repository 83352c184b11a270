"""A file that was cut off gives no frame, or the very same: at any length, in any format.

Pillow is told all the while to take truncated files, as any module of the process may do.
"""

import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from cad_edge.data.image import decode_image
from cad_edge.errors import ImageError
from tests.base.picture_files import bmp, encoded, interlaced, run_lengths, tiff_of

NOISE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
GREY = NOISE[..., 0]
DEEP = NOISE.astype(np.uint16) * 251
BITS = GREY > 127
PAGES = {"save_all": True, "append_images": [Image.fromarray(NOISE[::-1].copy())]}

FILES = {
    "PNG": encoded(NOISE, "PNG"),
    "PNG of 1 bit": encoded(BITS, "PNG"),
    "PNG of 16 bits": encoded(DEEP[..., 0], "PNG"),
    "PNG interlaced": interlaced(GREY),
    "JPEG": encoded(NOISE, "JPEG"),
    "JPEG progressive": encoded(NOISE, "JPEG", progressive=True),
    "JPEG CMYK": encoded(Image.fromarray(NOISE).convert("CMYK"), "JPEG"),
    "BMP": encoded(NOISE, "BMP"),
    "BMP grey": encoded(GREY, "BMP"),
    "BMP top-down": bmp(NOISE, 24, top_down=True),
    "BMP run lengths": run_lengths(GREY),
    "WebP": encoded(NOISE, "WEBP"),
    "WebP lossless": encoded(NOISE, "WEBP", lossless=True),
    "WebP animated": encoded(NOISE, "WEBP", **PAGES),
    "PPM": encoded(NOISE, "PPM"),
    "PBM": encoded(BITS, "PPM"),
    **{
        f"TIFF {name}": encoded(NOISE, "TIFF", **({"compression": name} if name else {}))
        for name in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma")
    },
    **{f"TIFF {name}": encoded(BITS, "TIFF", compression=name) for name in ("group3", "group4")},
    "TIFF tiled": tiff_of(DEEP, "rgb", tile=(16, 16), compression="lzw", predictor=True),
    "TIFF of floats": tiff_of((GREY / 255).astype(np.float32), compression="zlib", predictor=3),
}


@pytest.fixture(autouse=True)
def truncated_allowed(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)


@pytest.mark.parametrize("name", FILES)
def test_cut_at_any_length(tmp_path, name):
    path, content = tmp_path / "a.image", FILES[name]
    path.write_bytes(content)
    whole = decode_image(path)
    total = len(content)
    shares = {total * part // 30 for part in range(1, 30)}
    for length in {*range(0, 60, 4), *shares, *range(total - 24, total)}:
        path.write_bytes(content[:length])
        try:
            frame = decode_image(path)
        except ImageError as problem:
            said = str(problem)
            assert "a.image cannot be read (" in said and said.isprintable() and len(said) < 600
        else:
            # What is missing was not part of the picture: the end of a PNG, or of fax codes.
            np.testing.assert_array_equal(frame, whole, f"{length} of {total}")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("tile", [None, (32, 16)])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd", "lzma", "jpeg"])
def test_strip_or_tile_that_ends_early(tmp_path, compression, tile, share):
    values = GREY if compression == "jpeg" else DEEP[..., 0]
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(values, compression=compression, tile=tile, rowsperstrip=16))
    whole = decode_image(path)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = file.pages.first.tags[325 if tile else 279]
        counts = [*tag.value[:-1], max(int(tag.value[-1] * share), 1)]
        tag.overwrite(counts)
    try:
        frame = decode_image(path)
    except ImageError as problem:
        assert "a.tif cannot be read (it is" in str(problem)
    else:  # a checksum is gone, or the part of a tile that lies beyond the picture
        assert (compression, share) in {("lzma", 0.99), (None, 0.5)}
        np.testing.assert_array_equal(frame, whole)


@pytest.mark.parametrize("tag", [273, 279])
def test_strip_that_is_nowhere(tmp_path, tag):
    """tifffile would fill it with zeros."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(GREY, compression="lzw", rowsperstrip=16))
    with tifffile.TiffFile(path, mode="r+b") as file:
        found = file.pages.first.tags[tag]
        found.overwrite([0, *found.value[1:]])
    with pytest.raises(ImageError, match="strips or tiles are missing"):
        decode_image(path)


def test_tile_as_large_as_memory(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of(GREY, compression="zlib", tile=(48, 48)))
    with tifffile.TiffFile(path, mode="r+b") as file:
        for tag in (322, 323):
            file.pages.first.tags[tag].overwrite(1 << 20)
    with pytest.raises(ImageError, match="its tiles are larger than the picture"):
        decode_image(path)


def test_png_with_fewer_rows_than_it_states(tmp_path):
    content = bytearray(FILES["PNG"])
    content[20:24] = struct.pack(">I", 60)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match="it is truncated or damaged"):
        decode_image(tmp_path / "a.png")


def test_threads_agree(tmp_path):
    """Nothing of the process is switched while a file is read."""
    wanted = {}
    for number, (name, content) in enumerate(FILES.items()):
        path = tmp_path / str(number)
        path.write_bytes(content)
        wanted[path] = decode_image(path)
        broken = tmp_path / f"{number}.cut"
        broken.write_bytes(content[: len(content) * 2 // 3])
        wanted[broken] = name

    def check(path):
        try:
            np.testing.assert_array_equal(decode_image(path), wanted[path])
        except ImageError:
            assert isinstance(wanted[path], str)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(check, list(wanted) * 3))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
