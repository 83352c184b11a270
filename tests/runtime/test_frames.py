"""What a caller hands over as a frame, as its depth and as a batch: files, arrays, and neither."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cad_edge.errors import CadEdgeError, ImageError, OptionError
from cad_edge_runtime import Detector
from cad_edge_runtime.frames import read_frame

pytestmark = pytest.mark.torchless

IMAGE = np.zeros((12, 16, 3), np.uint8)
GOLDEN = Path(__file__).resolve().parents[1] / "golden/bundle"
PLANE = np.ones((12, 16), np.float32)

NO_IMAGES = {
    "memoryview": memoryview(IMAGE),
    "list": IMAGE.tolist(),
    "objects": IMAGE.astype(object),
    "masked": np.ma.masked_equal(IMAGE, 1),
    "no pixels": IMAGE[:0],
    "no axes": np.uint8(3) * np.ones((), np.uint8),
    "text": np.full((12, 16), "x" * 900),
    "dates": np.zeros((12, 16), "M8[s]"),
    "records": np.zeros((12, 16), [("x" * 900, np.uint8)]),
    "integers": IMAGE.astype(np.int64),
    "bytes": b"abc",
    "buffer": bytearray(9),
    "nothing": None,
    "number": 3,
    "generator": (one for one in [IMAGE]),
    "mapping": {0: IMAGE},
    "empty": [],
    "range": range(3),
    "no name": "",
    "zero in a name": "a\0b",
    "long name": "a" * 9000,
}
NO_DEPTHS = {
    "list": PLANE.tolist(),
    "memoryview": memoryview(PLANE),
    "masked": np.ma.masked_equal(PLANE, 0),
    "objects": PLANE.astype(object),
    "double": PLANE.astype(np.float64),
    "integers": PLANE.astype(np.uint16),
    "three channels": np.dstack([PLANE] * 3),
    "no pixels": PLANE[:0],
    "number": 3,
    "generator": (one for one in [PLANE]),
}
NO_BATCHES = {
    "generator": (one for one in [IMAGE]),
    "nothing": None,
    "number": 3,
    "name": "a.png",
    "path": Path("a.png"),
    "mapping": {0: IMAGE},
    "set": {1},
    "memoryview": memoryview(IMAGE),
    "no axes": np.zeros(()),
}


def one_sentence(problem: pytest.ExceptionInfo[CadEdgeError]) -> None:
    said = str(problem.value)
    assert said.isprintable() and len(said) < 600


@pytest.fixture(scope="module")
def detector():
    with Detector.open(GOLDEN, device="cpu", threads=1, watch=False) as opened:
        yield opened


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image(detector, name):
    with pytest.raises(ImageError) as problem:
        detector.detect(NO_IMAGES[name])
    one_sentence(problem)
    with pytest.raises(ImageError, match="image 1: ") as problem:
        detector.detect_batch([np.zeros((32, 32, 3), np.uint8), NO_IMAGES[name]])
    one_sentence(problem)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_is_the_array_that_it_holds(detector, rng):
    grey = rng.integers(0, 256, (32, 32), dtype=np.uint8)
    found = [detector.detect(one).score for one in (grey, np.matrix(grey))]
    assert found[0] == found[1]
    plane = read_frame(IMAGE, np.matrix(PLANE)).depth
    assert type(plane) is np.ndarray


@pytest.mark.parametrize("name", NO_DEPTHS)
def test_what_is_no_depth(name):
    with pytest.raises(ImageError, match="the depth is") as problem:
        read_frame(IMAGE, NO_DEPTHS[name])
    one_sentence(problem)


@pytest.mark.parametrize("name", NO_BATCHES)
def test_what_is_no_batch(detector, name):
    with pytest.raises(OptionError, match=r"images is a .*; give a list") as problem:
        detector.detect_batch(NO_BATCHES[name])
    one_sentence(problem)
    if name != "nothing":
        with pytest.raises(OptionError, match=r"depths is a .*; give a list"):
            detector.detect_batch([IMAGE], depths=NO_BATCHES[name])


@pytest.mark.parametrize("task", [[], {}, 3, b"red", np.zeros(3), ("red",)])
def test_what_is_no_task(detector, task):
    for call in (
        lambda: detector.detect(IMAGE, task),
        lambda: detector.detect_batch([IMAGE], task),
        lambda: detector.explain(IMAGE, task=task),
    ):
        with pytest.raises(OptionError, match=r"is not the name of a product; give a string"):
            call()


def test_limit_of_pixels(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    Image.fromarray(PLANE).save(tmp_path / "d.tiff")
    count = 12 * 16
    read_frame(tmp_path / "a.png", tmp_path / "d.tiff", max_pixels=count)
    for image, depth in ((tmp_path / "a.png", None), (IMAGE, None)):
        with pytest.raises(ImageError, match="has more than 191 pixels"):
            read_frame(image, depth, max_pixels=count - 1)


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
