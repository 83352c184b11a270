"""The procedural line: what its defects show in is measured, and equal seeds give equal bytes."""

import numpy as np
import pytest
import yaml

from cad_edge.dataset import read_product
from cad_edge.depth_files import decode_depth
from cad_edge.image import decode_image, decode_mask
from cad_edge.stream import read_stream
from cad_edge_benchmarks.rgbd_line.defects import DEFECTS
from cad_edge_benchmarks.rgbd_line.fields import Plane
from cad_edge_benchmarks.rgbd_line.grid import draw_grid
from cad_edge_benchmarks.rgbd_line.parts import PARTS
from cad_edge_benchmarks.rgbd_line.scenes import (
    DEPTH_NOISE,
    DISTANCE,
    IMAGE_NOISE,
    _ideal,
    _surface,
    render,
)
from cad_edge_benchmarks.rgbd_line.writing import write_line


def changes(name: str, defect: str, seed: int) -> tuple[float, float]:
    """Largest change of a level and of a depth, without noise."""
    surface = _surface(PARTS[name], np.random.default_rng([seed, 0]), 224)
    before = _ideal(surface)
    DEFECTS[defect].change(surface, np.random.default_rng([seed, 1]))
    after = _ideal(surface)
    levels = np.abs(after.levels - before.levels)
    return float(np.percentile(levels, 99.9)), float(np.abs(after.depth - before.depth).max())


def test_there_are_ten_parts_and_defects_of_each_sort():
    assert len(PARTS) >= 10
    assert {defect.shows for defect in DEFECTS.values()} == {"rgb", "depth", "both"}


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_defects_show_where_they_say(defect):
    shows = DEFECTS[defect].shows
    for number, name in enumerate(("biscuit", "cap", "tile")):
        levels, depth = changes(name, defect, number)
        if shows == "rgb":
            assert depth == 0 and levels > 8 * IMAGE_NOISE
        elif shows == "depth":
            assert levels < 4 * IMAGE_NOISE and depth > 8 * DEPTH_NOISE
        else:
            assert levels > 8 * IMAGE_NOISE and depth > 8 * DEPTH_NOISE


@pytest.mark.parametrize("name", sorted(PARTS))
def test_parts_as_they_are_seen(name):
    good = render(name, (3,))
    assert not good.mask.any()
    measured = good.depth[good.depth > 0]
    assert 0.9 < len(measured) / good.depth.size < 1
    assert DISTANCE - 16 < measured.min() < DISTANCE - 2 < measured.max() < DISTANCE + 1
    for defect in ("hole", "stain"):
        bad = render(name, (3,), defect)
        assert 20 < bad.mask.sum() < 3000
        # The part is the same, noise included, where the defect is not.
        unlike = np.abs(bad.rgb[~bad.mask].astype(int) - good.rgb[~bad.mask])
        assert unlike.max() <= 12


def test_light_by_hand():
    """On a slope of 1 to the right, down 0: length sqrt(2), and the side's 1.8 / sqrt(2) / 1.5."""
    surface = _surface(PARTS["tile"], np.random.default_rng(0), 64)
    pitch = 100 / 64
    surface.height = np.tile(np.arange(64) * pitch, (64, 1))
    surface.albedo = np.full((64, 64, 3), 0.5)
    expected = 255 * 0.5 * (0.85 / 2**0.5 + 0.15 * 1.8 / 2**0.5 / 1.5)
    found = _ideal(surface)
    assert found.levels[30, 30, 1] == pytest.approx(expected)
    assert found.depth[30, 30] == pytest.approx(500 - 30 * pitch)


def test_discs_and_boxes():
    axis = (np.arange(100) + 0.5) / 50 - 1
    at = Plane(*np.meshgrid(axis, axis))
    assert at.pixel == pytest.approx(0.02)
    assert at.disc(0.5).sum() * 0.02**2 == pytest.approx(np.pi * 0.25, rel=0.01)
    assert at.box((0.5, 0.25), (0.1, 0.0)).sum() * 0.02**2 == pytest.approx(0.5, rel=0.03)


def test_written_line_reads_back(tmp_path):
    steps = [["gear", "washer"], ["bolt"]]
    path = write_line(tmp_path, steps, 2, 1, 1, 5, 0.1, 96)
    stream = read_stream(path)
    assert [[task.name for task in step] for step in stream.grouped()] == steps
    product = read_product(tmp_path / "gear", "rgbd")
    assert (len(product.train), len(product.train_depth), len(product.test)) == (2, 2, 9)
    bad = next(item for item in product.test if item.defect == "hole")
    scene = render("gear", (5, list(PARTS).index("gear"), 1, 0, 4), "hole", 96)
    assert list(DEFECTS)[3] == "hole"
    assert np.array_equal(decode_image(bad.path), scene.rgb)
    assert np.array_equal(decode_mask(bad.mask, (96, 96)), scene.mask)
    np.testing.assert_allclose(decode_depth(bad.depth) * 0.01, scene.depth, atol=0.006)
    assert yaml.safe_load(path.read_text())["false_reject_rate"] == 0.1


def test_a_product_does_not_depend_on_the_others(tmp_path):
    write_line(tmp_path / "one", [["bolt"]], 1, 1, 1, 0, 0.1, 64)
    write_line(tmp_path / "two", [["gear"], ["bolt"]], 1, 1, 1, 0, 0.1, 64)
    first = sorted((tmp_path / "one" / "bolt").rglob("*.png"))
    second = sorted((tmp_path / "two" / "bolt").rglob("*.png"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len(first) == 2 + 2 + 3 * len(DEFECTS)


def test_grid_shows_every_part_with_every_defect(tmp_path, monkeypatch):
    monkeypatch.setattr("cad_edge_benchmarks.rgbd_line.grid.PARTS", {"bolt": PARTS["bolt"]})
    draw_grid(tmp_path / "grid.png", 0)
    shown = decode_image(tmp_path / "grid.png")
    assert shown.shape == (16 + 112, 62 + 224 * (1 + len(DEFECTS)), 3)
