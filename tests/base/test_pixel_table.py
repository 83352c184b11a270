"""Each row of the tables "What a pixel means" in docs/data.md, by right values.

A row without a case fails, and so does a case without a row.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from cad_edge.data.image import as_rgb, decode_image, decode_pixels, image_size
from cad_edge.errors import ImageError
from tests.base.picture_cases import ARRAYS, AS_PILLOW, PICTURES
from tests.base.tiff_cases import TIFFS

DOCS = Path(__file__).resolve().parents[2] / "docs/data.md"
FILES = {**PICTURES, **TIFFS}


def rows(heading: str) -> list[str]:
    """First column of the table that begins with a column of that name."""
    text = DOCS.read_text(encoding="utf-8")
    begin = text.index(f"\n| {heading} | becomes |\n") + 1
    lines = text[begin:].split("\n\n")[0].splitlines()[2:]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines]


def cases(table: dict) -> list:
    """Each case with its row and number."""
    return [
        pytest.param(given, wanted, id=f"{row[:40]}-{number}")
        for row, found in table.items()
        for number, (given, wanted) in enumerate(found)
    ]


def of_pillow(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def same(frame: np.ndarray, wanted: np.ndarray) -> None:
    assert frame.dtype == np.uint8 and frame.flags.c_contiguous
    shown = wanted if wanted.ndim == 3 else np.repeat(wanted[..., None], 3, axis=2)
    np.testing.assert_array_equal(frame, shown)


@pytest.mark.parametrize(("heading", "table"), [("array", ARRAYS), ("file", FILES)])
def test_every_row_has_cases(heading, table):
    assert sorted(rows(heading)) == sorted(table)


@pytest.mark.parametrize(("array", "wanted"), cases(ARRAYS))
def test_array(array, wanted):
    if isinstance(wanted, str):
        with pytest.raises(ImageError, match=wanted):
            as_rgb(array)
    else:
        same(as_rgb(array), wanted)


@pytest.mark.parametrize("truncated_allowed", [False, True])
@pytest.mark.parametrize(("content", "wanted"), cases(FILES))
def test_file(tmp_path, monkeypatch, content, wanted, truncated_allowed):
    """The same, whatever another module of the process has told Pillow."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", truncated_allowed)
    path = tmp_path / "picture"
    path.write_bytes(content)
    if isinstance(wanted, str) and wanted != AS_PILLOW:
        with pytest.raises(ImageError, match=wanted) as problem:
            decode_image(path)
        said = str(problem.value)
        assert str(path) in said and "\n" not in said and len(said) < 600
        assert ("damaged" in said) <= (wanted == "cannot be read")
        return
    frame = decode_image(path)
    same(frame, of_pillow(content) if isinstance(wanted, str) else wanted)
    assert image_size(path) == frame.shape[:2]
    np.testing.assert_array_equal(as_rgb(decode_pixels(path)), frame)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.nextafter(np.float32(1), np.float32(2)), "from 0 to 1.0000001;"),
        (np.nextafter(1.0, 2.0), "from 0 to 1.0000000000000002;"),
        (np.float16(1.001), "from 0 to 1.001;"),
        (255.0, "from 0 to 255;"),
        (np.float32(-1e-9), "from -1e-09 to 0;"),
    ],
)
def test_a_float_beyond_the_range_is_told_from_its_end(value, wanted):
    array = np.zeros((9, 9), getattr(value, "dtype", np.float64))
    array[3, 3] = value
    with pytest.raises(ImageError) as caught:
        as_rgb(array)
    assert wanted in str(caught.value)
