"""Nothing is printed while files are read, however odd they are."""

import subprocess
import sys

import numpy as np
import pytest

from cad_edge.data.image import decode_image
from tests.base.picture_files import bmp, chunk, encoded, interlaced, png, ramp, tiff

R8 = ramp(8)
RGB = np.dstack([R8, R8[:, ::-1], R8 // 2])
COLOURS = chunk(b"PLTE", bytes(range(256)) * 3)
PLAIN = png(R8, 8, 0)
FEWER_ROWS = png(R8[:16], 8, 0)[8:33]  # the header
ODD = {
    "transparency of one byte": png(R8, 8, 0, chunk(b"tRNS", b"\0")),
    "transparency beyond the depth": png(ramp(4), 4, 0, chunk(b"tRNS", b"\1\xff")),
    "transparency twice": png(R8, 8, 0, *[chunk(b"tRNS", b"\0\7")] * 2),
    "transparency of RGB, too short": png(RGB, 8, 2, chunk(b"tRNS", b"\0\0")),
    "transparency beside alpha": png(np.dstack([RGB, R8]), 8, 6, chunk(b"tRNS", b"\0\0")),
    "transparency before the palette": png(R8, 8, 3, chunk(b"tRNS", b"\0"), COLOURS),
    "more transparency than colours": png(
        R8 & 3, 8, 3, chunk(b"PLTE", bytes(12)), chunk(b"tRNS", bytes(range(200)))
    ),
    "a palette in a grey file": png(R8, 8, 0, COLOURS),
    "a palette in a grey file with alpha": png(np.dstack([R8, R8]), 8, 4, COLOURS),
    "a palette in RGB": png(RGB, 8, 2, COLOURS),
    "a palette twice": png(R8, 8, 3, COLOURS, COLOURS),
    "a colour without a palette entry": png(R8, 8, 3, chunk(b"PLTE", bytes(90))),
    "more rows than it states": PLAIN[:8] + FEWER_ROWS + PLAIN[33:],
    "fewer rows than it states": png(R8[:16], 8, 0)[:8] + PLAIN[8:33] + png(R8[:16], 8, 0)[33:],
    "pixels after the pixels": PLAIN[:-12] + chunk(b"IDAT", bytes(50)),
    "an end with contents": PLAIN[:-12] + chunk(b"IEND", bytes(50)),
    "no end": PLAIN[:-12],
    "cut": PLAIN[:-80],
    "interlaced": interlaced(R8),
    "JPEG with bytes that do not belong": encoded(RGB, "JPEG")[:-2] + bytes(99) + b"\xff\xd9",
    "cut JPEG": encoded(RGB, "JPEG")[:-99],
    "cut WebP": encoded(RGB, "WEBP")[:-9],
    "BMP": bmp(RGB, 24)[:-9],
    "cut TIFF": tiff(R8, 8, 1)[:-99],
    "cut TIFF in JPEG": encoded(RGB, "TIFF", compression="jpeg")[:-99],
    "cut fax": encoded(R8 > 99, "TIFF", compression="group4")[:-20],
}

PROGRAM = """
import sys
from pathlib import Path
from cad_edge.data.image import decode_image
from cad_edge.errors import ImageError
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        decode_image(path)
    except ImageError:
        pass
"""


def test_nothing_is_printed(tmp_path):
    for number, content in enumerate(ODD.values()):
        (tmp_path / f"{number:02}").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "" and done.stderr == ""


@pytest.mark.parametrize("name", [name for name in ODD if name.startswith("a palette in")])
def test_a_palette_that_is_not_used_changes_nothing(tmp_path, name):
    (tmp_path / "odd.png").write_bytes(ODD[name])
    (tmp_path / "plain.png").write_bytes(ODD[name].replace(COLOURS, b""))
    np.testing.assert_array_equal(
        decode_image(tmp_path / "odd.png"), decode_image(tmp_path / "plain.png")
    )


def test_more_rows_than_a_file_states(tmp_path):
    (tmp_path / "a.png").write_bytes(ODD["more rows than it states"])
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png")[..., 0], R8[:16])
