"""JPEG files that lost data are refused, and sound ones of every kind are read."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from cad_edge.data.image import decode_image
from cad_edge.errors import ImageError
from tests.base.picture_files import encoded

END = b"\xff\xd9"


def drawn() -> Image.Image:
    """(150, 203) with smooth parts, edges and noise."""
    rows, columns = np.mgrid[0:150, 0:203]
    waves = [np.sin(columns / 9) * 100 + 128, np.cos(rows / 7) * 100 + 128, (rows * columns) % 256]
    picture = np.stack(waves, axis=2).astype(np.uint8)
    picture[40:80] = np.random.default_rng(1).integers(0, 256, (40, 203, 3))
    return Image.fromarray(picture)


def kinds() -> dict[str, bytes]:
    """Sound files."""
    colour = drawn()
    small = encoded(colour.resize((40, 30)), "JPEG")
    exif = Image.Exif()
    exif[270] = "a picture " + small.decode("latin-1")  # as a thumbnail lies in its EXIF
    found = {
        f"{quality}, {fine}, {late}, {restart}": encoded(
            colour,
            "JPEG",
            quality=quality,
            subsampling=fine,
            progressive=late,
            **({restart: 2} if restart else {}),
        )
        for quality in (30, 95)
        for fine in (0, 2)
        for late in (False, True)
        for restart in (None, "restart_marker_rows", "restart_marker_blocks")
    }
    plain = found["95, 2, False, None"]
    return {
        **found,
        "grey": encoded(colour.convert("L"), "JPEG"),
        "grey progressive": encoded(colour.convert("L"), "JPEG", progressive=True),
        "CMYK": encoded(colour.convert("CMYK"), "JPEG", restart_marker_rows=1),
        "CMYK progressive": encoded(colour.convert("CMYK"), "JPEG", progressive=True),
        "stored as RGB": encoded(colour, "JPEG", keep_rgb=True),
        "with a thumbnail": encoded(colour, "JPEG", exif=exif.tobytes()[:60_000]),
        "with a profile": encoded(colour, "JPEG", icc_profile=b"x" * 3000),
        "several pictures": encoded(
            colour, "MPO", save_all=True, append_images=[colour.rotate(180)]
        ),
        "bytes after the end": plain + b"garbage" * 50,
        "zeros before the end": plain.removesuffix(END) + bytes(400) + END,
        "a few bytes before the end": plain.removesuffix(END) + b"abcdef" + END,
    }


SOUND = kinds()
CLEAN = [name for name in SOUND if "end" not in name and name != "several pictures"]


def scan_begin(content: bytes) -> int:
    """Where the last first-scan header lies that has a frame before it."""
    return content.index(b"\xff\xda", content.index(b"\xff\xc4"))


def half(content: bytes) -> bytes:
    begin = scan_begin(content)
    return content[: (begin + len(content)) // 2] + END


def nearly_all(content: bytes) -> bytes:
    return content[:-12] + END


def hole(content: bytes) -> bytes:
    begin = scan_begin(content)
    third = begin + (len(content) - begin) // 3
    return content[:third] + content[third + (len(content) - begin) // 8 :]


def no_end(content: bytes) -> bytes:
    return content.removesuffix(END)


def no_last_scan(content: bytes) -> bytes:
    return content[: content.rindex(b"\xff\xda")] + END


def lost_restart(content: bytes) -> bytes:
    first, second = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", content)][1:3]
    return content[:first] + content[second:]


def wrong_restart(content: bytes) -> bytes:
    second = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", content)][1]
    return content[: second + 1] + b"\xd7" + content[second + 2 :]


@pytest.fixture(params=[True, False], ids=["strict reader", "two readings"], name="strict")
def reader(request, monkeypatch):
    """Whether simplejpeg is there; whatever Pillow was told."""
    if request.param:
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    return request.param


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("name", SOUND)
def test_sound_files_are_as_pillow_reads_them(tmp_path, name):
    path = tmp_path / "a.jpg"
    path.write_bytes(SOUND[name])
    with Image.open(path) as image:
        np.testing.assert_array_equal(decode_image(path), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    "damage",
    [half, nearly_all, hole, no_end, no_last_scan, lost_restart, wrong_restart],
    ids=lambda damage: damage.__name__,
)
def test_lost_data_is_refused(tmp_path, damage, strict):
    path = tmp_path / "a.jpg"
    for name in CLEAN:
        if damage is hole and not strict:
            continue  # what is left may be too much instead of too little
        if damage is no_last_scan and SOUND[name].count(b"\xff\xda") < 3:
            continue
        if damage in (lost_restart, wrong_restart) and "restart" not in name:
            continue
        path.write_bytes(damage(SOUND[name]))
        with pytest.raises(ImageError, match=r"a\.jpg cannot be read \(it is (incom|trunc|dam)"):
            decode_image(path)
            pytest.fail(name)


@pytest.mark.usefixtures("strict")
def test_half_a_picture_inside_a_tiff(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(encoded(drawn(), "TIFF", compression="jpeg"))
    decode_image(path)
    with tifffile.TiffFile(path) as file:
        begin, length = (
            places[-1] for places in (file.pages.first.dataoffsets, file.pages.first.databytecounts)
        )
    content = path.read_bytes()
    middle, end = begin + length // 2, begin + length
    path.write_bytes(content[:middle] + END + bytes(end - middle - 2) + content[end:])
    with pytest.raises(ImageError, match=r"a\.tif cannot be read \(it is"):
        decode_image(path)


@pytest.mark.usefixtures("strict")
def test_real_files_are_read(open_data):
    files = sorted(Path(open_data).rglob("*.jpg"))[::25]
    assert files
    for path in files:
        with Image.open(path) as image:
            np.testing.assert_array_equal(decode_image(path), np.asarray(image.convert("RGB")))
