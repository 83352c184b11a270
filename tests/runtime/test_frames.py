"""Depth files that are handed over with a frame; arrays are tested with the detector."""

import numpy as np
import pytest
from PIL import Image

from cad_edge.errors import ImageError
from cad_edge_runtime.frames import read_frame

pytestmark = pytest.mark.torchless

IMAGE = np.zeros((12, 16, 3), np.uint8)


@pytest.fixture
def values(rng) -> np.ndarray:
    """(12, 16) uint16 with a row that was not measured."""
    found = rng.integers(1, 65536, (12, 16), dtype=np.uint16)
    found[0] = 0
    return found


def test_grey_file(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "d.png")
    for path in (tmp_path / "d.png", str(tmp_path / "d.png")):
        plane = read_frame(IMAGE, path).depth
        assert plane.dtype == np.float32
        np.testing.assert_array_equal(plane, values)


def test_file_of_eyecandies_is_in_metres(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "00_depth.png")
    (tmp_path / "00_info_depth.yaml").write_text("normalization: {min: 0.5, max: 0.75}")
    plane = read_frame(IMAGE, tmp_path / "00_depth.png").depth
    np.testing.assert_allclose(plane, 0.5 + values / 65535 / 4, rtol=1e-6)


def test_point_cloud(tmp_path, values):
    tifffile = pytest.importorskip("tifffile")
    points = np.repeat(values[..., None], 3, axis=2).astype(np.float32)
    points[..., :2] -= 300
    points[0] = 0
    tifffile.imwrite(tmp_path / "d.tiff", points, photometric="rgb")
    np.testing.assert_array_equal(read_frame(IMAGE, tmp_path / "d.tiff").depth, values)
    points[5, 5, 0] = np.nan
    tifffile.imwrite(tmp_path / "d.tiff", points, photometric="rgb")
    with pytest.raises(ImageError, match=r"d\.tiff holds NaN or infinite values; save 0"):
        read_frame(IMAGE, tmp_path / "d.tiff")


def test_file_of_another_size(tmp_path, values):
    Image.fromarray(values[:, :-1]).save(tmp_path / "d.png")
    with pytest.raises(ImageError, match="the depth is 15x12 px but the image is 16x12 px; regis"):
        read_frame(IMAGE, tmp_path / "d.png")


def test_picture_of_a_depth(tmp_path, values):
    Image.fromarray((values >> 8).astype(np.uint8)).save(tmp_path / "d.png")
    with pytest.raises(ImageError, match=r"d\.png is not a 16-bit grey image"):
        read_frame(IMAGE, tmp_path / "d.png")
