"""The demo's windows: disjoint, seeded, and laid out as a user's own folders are."""

import numpy as np
import pytest

from cad_edge.data.dataset import read_product
from cad_edge.data.image import decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.data.stream import read_stream
from cad_edge.errors import DatasetError
from cad_edge_benchmarks.demo import surfaces
from cad_edge_benchmarks.demo.defects import KINDS
from cad_edge_benchmarks.demo.surfaces import PRODUCTS, SIDE, draw_lots, grid, write_line

pytest.importorskip("skimage")


def covered(shape: tuple[int, int], corners: list[tuple[int, int]]) -> np.ndarray:
    """How many of the windows each pixel is in."""
    times = np.zeros(shape, int)
    for row, column in corners:
        times[row : row + SIDE, column : column + SIDE] += 1
    return times


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    return write_line(tmp_path_factory.mktemp("images"), seed=3)


def test_no_pixel_is_in_two_windows():
    train, test = draw_lots(grid(512, 512), seed=3)
    learned, held_out = covered((512, 512), train), covered((512, 512), test)
    assert learned.max() == held_out.max() == 1
    assert not (learned & held_out).any()
    assert (len(train), len(test)) == (40, 24)
    assert learned.sum() == len(train) * SIDE**2


def test_the_draw_is_seeded():
    corners = grid(512, 512)
    assert draw_lots(corners, 1) == draw_lots(corners, 1)
    assert draw_lots(corners, 1) != draw_lots(corners, 2)


def test_every_photograph_is_installed():
    for name in (*PRODUCTS, surfaces.UNKNOWN):
        assert surfaces.photograph(name).shape[2] == 3
    with pytest.raises(DatasetError, match="no_such_photograph"):
        surfaces.photograph("no_such_photograph")


def test_products_read_as_a_stream(line):
    stream = read_stream(line.stream)
    assert [task.name for task in stream.tasks] == list(PRODUCTS)
    for task in stream.tasks:
        product = task.images()
        kinds = [item.label for item in product.test]
        assert len(product.train) == 40
        assert kinds.count("good") == 24
        assert [kinds.count(kind) for kind in KINDS] == [8, 8, 8]


def test_a_defect_changes_its_window_under_its_mask(line):
    folder = read_stream(line.stream).tasks[0].path
    defective = [item for item in read_product(folder).test if item.anomalous]
    for item in defective:
        good = decode_image(folder / "test" / "good" / item.path.name).astype(int)
        changed = np.abs(decode_image(item.path) - good).max(axis=2)
        mask = decode_mask(item.mask, changed.shape)
        assert mask.any()
        assert changed[mask].mean() > 15
        assert changed[~mask].mean() < 1
        assert mask.mean() < 0.15


def test_grey_photographs_get_grey_defects(line):
    """A tint alone would give a defect away, and the figures would say nothing."""
    for task in read_stream(line.stream).tasks:
        for item in read_product(task.path).test:
            window = decode_image(item.path)
            assert (window == window[..., :1]).all()


def test_equal_seeds_write_equal_files(line, tmp_path):
    again = write_line(tmp_path, seed=3)
    folder, other = line.stream.parent, again.stream.parent
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert names == sorted(path.relative_to(other) for path in other.rglob("*.*"))
    assert all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)
