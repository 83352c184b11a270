"""The procedural assembly: rules by counting, masks by comparing, and equal bytes."""

import json
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import binary_dilation, label

from cad_edge.data.dataset import read_product
from cad_edge.data.image import decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.data.stream import read_stream
from cad_edge_studies.procedural_assembly.__main__ import main
from cad_edge_studies.procedural_assembly.camera import READ_NOISE, SHOT_NOISE, sense
from cad_edge_studies.procedural_assembly.items import draw_item
from cad_edge_studies.procedural_assembly.layout import BAYS, COLOURS, KINDS, good_layout
from cad_edge_studies.procedural_assembly.rule_breaks import RULE_BREAKS
from cad_edge_studies.procedural_assembly.scenes import LEVELS, render
from cad_edge_studies.procedural_assembly.surfaces import SIDE, Pose, empty_tray, window

HELD = {
    "screws": {"screw": 4},
    "washers": {"washer": 2},
    "nuts": {"nut": 3},
    "springs": {"spring": 2},
    "cap": {"cap": 1},
    "label": {"label": 1},
}
"""What the README says that each bay holds."""
LOGICAL = sorted(name for name, level in LEVELS.items() if level == "logical")
LOCAL = sorted(set(LEVELS) - set(LOGICAL))


def layouts(seed):
    """The items of one good tray, and those that every kind of logical defect makes of them."""
    good = good_layout(np.random.default_rng([seed, 0]))
    bad = {n: RULE_BREAKS[n](good, np.random.default_rng([seed, 1])) for n in LOGICAL}
    return good, bad


def bay_of(item):
    """By where it lies, not by the seat that it was given."""
    (name,) = [
        name
        for name, bay in BAYS.items()
        if bay.left < item.x < bay.right and bay.top < item.y < bay.bottom
    ]
    return name


def faults(items):
    """What is against the rules: items too many and too few by bay and kind, and the pairing."""
    found, due = Counter((bay_of(item), item.kind) for item in items), Counter()
    for bay, held in HELD.items():
        due.update({(bay, kind): count for kind, count in held.items()})
    colours = {item.kind: item.colour for item in items if item.colour}
    pairs = "label" not in colours or "cap" not in colours or len({*colours.values()}) == 1
    return found - due, due - found, pairs


@pytest.mark.parametrize("seed", range(40))
def test_rules_are_kept_and_broken(seed):
    good, bad = layouts(seed)
    assert faults(good) == (Counter(), Counter(), True)
    found = {name: faults(items) for name, items in bad.items()}
    too_many, too_few, pairs = found["missing"]
    assert not too_many and pairs and too_few.total() == 1
    assert {kind for _, kind in too_few} <= {"spring", "cap", "label"}
    too_many, too_few, pairs = found["extra"]
    ((bay, kind),) = too_many.elements()
    assert not too_few and pairs and kind not in HELD[bay]
    too_many, too_few, pairs = found["swapped"]
    assert pairs and too_many.total() == too_few.total() == 2
    assert {(bay, kind) for bay, kind in too_many} == {
        (one, other) for (one, _), (_, other) in zip(too_few, reversed(list(too_few)), strict=True)
    }
    too_many, too_few, pairs = found["wrong_count"]
    ((bay, kind),) = (too_many + too_few).elements()
    assert pairs and HELD[bay].keys() == {kind} and kind in {"screw", "washer", "nut"}
    assert found["wrong_pairing"] == (Counter(), Counter(), False)


def test_all_that_can_differ_does():
    """Lanes and colours of good trays; every kind of item missing, too many, swapped."""
    drawn = [layouts(seed) for seed in range(80)]
    lanes = {frozenset(i.seat.x for i in good if i.kind == "screw") for good, _ in drawn}
    assert len(lanes) == 5
    assert {item.colour for good, _ in drawn for item in good} == {None, *COLOURS}
    assert {item.kind for good, _ in drawn for item in good} == set(KINDS) and len(KINDS) == 6
    few = Counter(k for _, bad in drawn for b, k in faults(bad["wrong_count"])[1])
    many = Counter(k for _, bad in drawn for b, k in faults(bad["wrong_count"])[0])
    assert few.keys() == many.keys() == {"screw", "washer", "nut"}
    assert {k for _, bad in drawn for _, k in faults(bad["missing"])[1]} == {
        "spring",
        "cap",
        "label",
    }
    assert {k for _, bad in drawn for _, k in faults(bad["swapped"])[0]} == set(KINDS)


def test_items_lie_on_floors_and_apart():
    """What sticks in a wall or in another item would be damage, and so a local defect."""
    pose = Pose(0.0, 0.0, 0.0)
    tray = empty_tray(pose, np.random.default_rng(0))
    floors = tray.height.copy()
    for seed in range(3):
        good, bad = layouts(seed)
        items = list(dict.fromkeys([*good, *(item for of in bad.values() for item in of)]))
        covers = {item: draw_item(tray, item, pose) > 0.5 for item in items}
        assert max(floors[cover].max() for cover in covers.values()) < 0.2, "mm"
        for together in (good, *bad.values()):
            assert np.sum([covers[item] for item in together], axis=0).max() == 1


def test_items_have_their_sizes():
    """Areas in mm2 by hand: rings of radii 5 and 2.6, a hexagon less its hole, discs, a sheet."""
    pose = Pose(0.0, 0.0, 0.0)
    tray = empty_tray(pose, np.random.default_rng(0))
    good, _ = layouts(0)
    areas = {item.kind: draw_item(tray, item, pose).sum() * 0.1625**2 for item in good}
    assert areas["washer"] == pytest.approx(np.pi * (25 - 2.6**2), rel=0.02)
    assert areas["nut"] == pytest.approx(2 * 3**0.5 * 3.5**2 - np.pi * 1.8**2, rel=0.02)
    assert areas["cap"] == pytest.approx(np.pi * (9.75**2 + 0.25**2 / 2), rel=0.02)
    assert areas["label"] == pytest.approx(17 * 23, rel=0.02)


@pytest.mark.parametrize("defect", sorted(LEVELS))
def test_masks_hold_what_changed(defect):
    """The rest of a shadow is all that changes beyond 5 pixels, and nothing does beyond 13."""
    good, bad = render((4,)), render((4,), defect)
    assert not good.mask.any() and bad.mask.any()
    assert (bad.items == good.items) == (defect in LOCAL)
    changed = np.abs(bad.levels - good.levels).max(axis=-1)
    for pixels, most in ((5, 6.0), (13, 0.0)):
        near = binary_dilation(bad.mask, np.ones((2 * pixels + 1,) * 2))
        assert changed[~near].max() <= most
    assert changed[bad.mask].mean() > 20, "far more than noise"
    places, count = label(bad.mask)
    largest = [changed[places == place].max() for place in range(1, count + 1)]
    assert min(largest) > 10, "no place without a change"
    if defect in LOCAL:
        assert 40 < bad.mask.sum() < 800 and changed[~bad.mask].max() < changed[bad.mask].max()


def test_damages_lie_on_the_tray():
    for seed in range(2):
        for defect in LOCAL:
            rows, columns = np.nonzero(render((seed,), defect).mask)
            assert min(rows.min(), columns.min()) > 8
            assert max(rows.max(), columns.max()) < SIDE - 8


def test_poses_turn_and_shift_points():
    assert Pose(1.0, -2.0, 0.0)(3.0, 4.0) == pytest.approx((4.0, 2.0))
    assert Pose(0.0, 0.0, np.pi / 2)(3.0, 4.0) == pytest.approx((-4.0, 3.0))
    where, at = window(-10.0, 5.0, 0.0, 4.0)
    row, column = np.unravel_index(np.argmin(at.radius), at.radius.shape)
    # The image spans 104 mm in 640 points: 10 mm to the left of its middle, 5 mm below it.
    assert where[0].start + row == pytest.approx(320 + 5 / 0.1625, abs=1)
    assert where[1].start + column == pytest.approx(320 - 10 / 0.1625, abs=1)


def test_noise_is_that_of_the_sensor():
    """At 100 levels 1.4 and 0.11 * 10 levels together, and a little for rounding."""
    seen = sense(np.full((200, 200, 3), 100.0), np.random.default_rng(0)).astype(float)
    expected = (READ_NOISE**2 + (SHOT_NOISE * 10) ** 2 + 1 / 12) ** 0.5
    assert seen.mean() == pytest.approx(100, abs=0.05)
    assert seen.std() == pytest.approx(expected, rel=0.02) == pytest.approx(1.804, rel=0.02)


def test_another_seed_is_another_tray():
    one, other = render((0,)), render((1,))
    assert np.mean(one.rgb != other.rgb) > 0.5 and one.items != other.items


def run(folder, *options):
    return CliRunner().invoke(main, [str(folder), *options])


def test_command_writes_what_reads_back(tmp_path):
    few = ("--train", "2", "--good", "1", "--each", "1", "--seed", "5")
    answer = run(tmp_path, *few)
    assert answer.exit_code == 0, answer.output
    (task,) = read_stream(tmp_path / "stream.yaml").tasks
    product = read_product(tmp_path / task.name, "mvtec")
    assert (len(product.train), len(product.test)) == (2, 1 + len(LEVELS))
    assert json.loads((tmp_path / "levels.json").read_text()) == LEVELS
    assert {item.defect for item in product.test} == {None, *LEVELS}
    bad = next(item for item in product.test if item.defect == "missing")
    scene = render((5, 1, 0, 1 + list(LEVELS).index("missing")), "missing")
    assert np.array_equal(decode_image(bad.path), scene.rgb)
    assert np.array_equal(decode_mask(bad.mask, (SIDE, SIDE)), scene.mask)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    assert run(tmp_path, *few).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == written
    answer = run(tmp_path, *few[2:])
    assert answer.exit_code == 1 and "assembly_tray holds other images" in answer.output


def test_images_do_not_depend_on_how_many_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr("cad_edge_studies.procedural_assembly.writing.LEVELS", {"scratch": "local"})
    run(tmp_path / "one", "--train", "1", "--good", "1", "--each", "1")
    run(tmp_path / "two", "--train", "2", "--good", "1", "--each", "1")
    first = sorted((tmp_path / "one").rglob("*.png"))
    same = [tmp_path / "two" / path.relative_to(tmp_path / "one") for path in first]
    assert len(first) == 4
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in same]
