"""The procedural line: what its defects show in is measured, and equal seeds give equal bytes."""

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from cad_edge.data.dataset import read_product
from cad_edge.data.depth_files import decode_depth
from cad_edge.data.image import decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.data.stream import read_stream
from cad_edge.errors import DatasetError, OptionError
from cad_edge_studies.procedural_rgbd_line.__main__ import main
from cad_edge_studies.procedural_rgbd_line.defects import DEFECTS
from cad_edge_studies.procedural_rgbd_line.fields import Plane
from cad_edge_studies.procedural_rgbd_line.parts import PARTS
from cad_edge_studies.procedural_rgbd_line.scenes import (
    DEPTH_NOISE,
    DISTANCE,
    IMAGE_NOISE,
    SIDE,
    NoiselessScene,
    _ideal,
    _sensed,
    _surface,
    difference,
    render,
)
from cad_edge_studies.procedural_rgbd_line.writing import write_line


def ideals(name: str, defect: str, seed: int) -> tuple[NoiselessScene, NoiselessScene]:
    """One part without noise, good and with a defect."""
    surface = _surface(PARTS[name], np.random.default_rng([seed, 0]), SIDE)
    before = _ideal(surface)
    DEFECTS[defect].change(surface, np.random.default_rng([seed, 1]))
    return before, _ideal(surface)


def test_there_are_ten_parts_and_defects_of_each_sort():
    assert len(PARTS) >= 10
    assert {defect.shows for defect in DEFECTS.values()} == {"rgb", "depth", "both"}


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_defects_show_where_they_say(defect):
    """The image changes by far more than the camera's noise, or about as much as it."""
    shows = DEFECTS[defect].shows
    for number, name in enumerate(PARTS):
        before, after = ideals(name, defect, number)
        mask = difference(after, before)
        levels = np.abs(after.levels - before.levels).max(axis=-1)[mask].mean()
        depth = np.abs(after.depth - before.depth).max()
        assert (levels > 6 * IMAGE_NOISE) if shows != "depth" else (levels < 2.5 * IMAGE_NOISE)
        assert (depth > 8 * DEPTH_NOISE) if shows != "rgb" else (depth == 0)
        assert 0.0005 < mask.mean() < 0.02, "of moderate size"


def test_parts_go_missing_on_every_side():
    sides = set()
    for number in range(24):
        rows, columns = np.nonzero(render("tile", (number,), "missing").mask)
        down, right = rows.mean() - SIDE / 2, columns.mean() - SIDE / 2
        sides.add((abs(down) > abs(right), (down if abs(down) > abs(right) else right) > 0))
    assert len(sides) == 4


def test_depth_is_what_a_sensor_measures():
    """Noise of 0.08 mm in steps of 0.01; a part in 500 of a plane is not measured, edges rarely."""
    flat = NoiselessScene(np.zeros((200, 200, 3)), np.full((200, 200), 500.0))
    _, depth = _sensed(flat, np.random.default_rng(0))
    measured = depth[depth > 0].astype(np.float64)
    assert measured.mean() == pytest.approx(500, abs=0.002)
    assert measured.std() == pytest.approx(0.08, rel=0.03)
    np.testing.assert_allclose(measured * 100, np.rint(measured * 100), atol=0.01)
    assert np.mean(depth == 0) == pytest.approx(0.002, abs=0.001)
    edge = flat.depth.copy()
    edge[:, 100:] -= 5
    _, depth = _sensed(NoiselessScene(flat.levels, edge), np.random.default_rng(0))
    assert np.mean(depth[:, 99:101] == 0) == pytest.approx(0.6, abs=0.1)
    assert np.mean(depth[:, :98] == 0) < 0.01


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


def test_another_seed_is_another_part():
    one, other = (render("bolt", (seed,), side=64) for seed in (0, 1))
    assert np.mean(one.rgb != other.rgb) > 0.5 and np.mean(one.depth != other.depth) > 0.5


def test_what_is_there_is_kept_if_it_is_the_same_line(tmp_path):
    write_line(tmp_path, [["bolt"]], 2, 1, 1, 0, 0.1, 64)
    image = tmp_path / "bolt" / "train" / "good" / "rgb" / "001.png"
    written = image.stat().st_mtime_ns
    write_line(tmp_path, [["bolt"], ["gear"]], 2, 1, 1, 0, 0.1, 64)
    assert image.stat().st_mtime_ns == written
    for train, seed, side in ((3, 0, 64), (2, 1, 64), (2, 0, 48)):
        with pytest.raises(DatasetError, match=r"bolt holds other images .*; delete it"):
            write_line(tmp_path, [["bolt"]], train, 1, 1, seed, 0.1, side)


def test_what_an_interruption_left_is_drawn_anew(tmp_path):
    left = tmp_path / ".bolt" / "train" / "good" / "rgb" / "099.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    write_line(tmp_path, [["bolt"]], 1, 1, 1, 0, 0.1, 64)
    assert [path.name for path in (tmp_path / "bolt" / "train").rglob("*.png")] == ["000.png"] * 2
    assert not (tmp_path / ".bolt").exists()


def test_names_are_checked_before_anything_is_drawn(tmp_path):
    with pytest.raises(OptionError, match="no part 'spoon'; take some of bearing, "):
        write_line(tmp_path, [["bolt"], ["spoon"]], 1, 1, 1, 0, 0.1, 64)
    with pytest.raises(OptionError, match="'bolt' is there twice"):
        write_line(tmp_path, [["bolt"], ["bolt"]], 1, 1, 1, 0, 0.1, 64)
    assert not list(tmp_path.iterdir())


def test_command(tmp_path, monkeypatch):
    few = {"bolt": PARTS["bolt"]}
    monkeypatch.setattr("cad_edge_studies.procedural_rgbd_line.__main__.PARTS", few)
    options = ["--train", "2", "--good", "1", "--each", "1"]
    answer = CliRunner().invoke(main, [str(tmp_path / "line"), *options])
    assert answer.exit_code == 0, answer.output
    assert [task.name for task in read_stream(tmp_path / "line" / "stream.yaml").tasks] == ["bolt"]
    assert len(read_product(tmp_path / "line" / "bolt", "rgbd").train) == 2
    answer = CliRunner().invoke(main, [str(tmp_path / "line"), "--train", "3"])
    assert answer.exit_code == 1 and answer.output.startswith("Error: ")
