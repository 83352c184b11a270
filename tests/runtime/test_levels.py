"""Levels of evidence: named by the manifest, given by the engine, said by a detection."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cad_edge.errors import BundleError, CadEdgeError, GraphError
from cad_edge_runtime import Detector
from cad_edge_runtime.answers import answers_of
from cad_edge_runtime.commands import detect
from cad_edge_runtime.engine_outputs import require_levels
from cad_edge_runtime.graph_sizes import Feed
from cad_edge_runtime.levels import strongest
from cad_edge_runtime.preparation import plan_chain
from tests.runtime.onnx_bytes import field, free_port, model, numbers, operation

pytestmark = pytest.mark.torchless
F32, FLOAT = np.float32, 1
NAMES = ["patch", "component", "global"]
SIDE = 32  # of the golden bundle's frames, which have three channels


def reduced(name: str, source: str, kind: str, *axes: int) -> bytes:
    return numbers(f"{name}_axes", axes) + operation(
        kind, [source, f"{name}_axes"], [name], keepdims=0
    )


SCORE = reduced("score", "x", "ReduceMax", 1, 2, 3)
# m (m - 100) / m of a channel's mean m: m - 100, and NaN where a channel is black.
LEVELS = (
    reduced("m", "x", "ReduceMean", 1, 2)
    + numbers("hundred", [100])
    + operation("Cast", ["hundred"], ["h"], to=1)
    + operation("Sub", ["m", "h"], ["d"])
    + operation("Mul", ["m", "d"], ["p"])
    + operation("Div", ["p", "m"], ["levels"])
)
LEVEL_MAPS = operation("Transpose", ["x"], ["level_maps"], perm=[0, 3, 1, 2])
OF_LEVELS = {"levels": ("batch", 3)}
OF_BOTH = {**OF_LEVELS, "level_maps": ("batch", 3, SIDE, SIDE)}


def engine(operations: bytes, outputs: dict[str, tuple[object, ...]]) -> bytes:
    """(image uint8) -> score and ``outputs``, whose level n is channel n's mean above 100."""
    ports = field(11, free_port("image", ("batch", SIDE, SIDE, 3), 2))
    for name, shape in {"score": ("batch",), **outputs}.items():
        ports += field(12, free_port(name, shape, FLOAT))
    return model(operation("Cast", ["image"], ["x"], to=1) + SCORE + operations + ports)


def give(workshop, names: list[str], operations: bytes, outputs: dict[str, tuple[object, ...]]):
    """Let ``blue`` have an engine of its own, and names of levels."""
    workshop.change_graph("blue", engine(operations, outputs))
    workshop.change_task("blue", lambda entry: entry.model_copy(update={"levels": names}))


def painted(red: int, green: int, blue: int) -> np.ndarray:
    """Make one frame of one colour."""
    return np.full((SIDE, SIDE, 3), (red, green, blue), np.uint8)


@pytest.fixture
def detector(bundle, workshop):
    give(workshop, NAMES, LEVELS + LEVEL_MAPS, OF_BOTH)
    with Detector.open(bundle, threads=1, watch=False) as opened:
        yield opened


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ({"a": 1.0, "b": -2.0, "c": 3.0}, ("c", 0.75)),
        ({"a": 5.0}, ("a", 1.0)),
        ({"a": 2.0, "b": 2.0}, ("a", 0.5)),
        ({"a": math.nan, "b": 1.0, "c": math.inf}, ("b", 1.0)),
        ({"a": 3.4e38, "b": 3.4e38}, ("a", 0.5)),
        ({"a": 0.0, "b": -0.0, "c": -1.0}, None),
        ({"a": math.nan, "b": math.inf, "c": -math.inf}, None),
        ({}, None),
    ],
)
def test_the_strongest_level_and_its_share_of_what_is_added(added, said):
    assert strongest(added) == said


def test_a_detection_says_what_each_level_adds(detector):
    found = detector.detect(painted(110, 40, 130), task="blue")
    assert found.levels == pytest.approx({"patch": 10, "component": -60, "global": 30}, abs=1e-4)
    assert list(found.levels) == NAMES
    assert found.level == "global" and found.level_share == pytest.approx(0.75, abs=1e-6)
    said = found.to_dict()
    assert (said["level"], said["levels"]) == ("global", found.levels)
    assert said["level_share"] == found.level_share


def test_every_frame_of_a_batch_has_its_own(detector):
    frames = [painted(150, 40, 110), painted(40, 101, 0), painted(50, 60, 70)]
    found = detector.detect_batch(frames, task="blue")
    assert [one.level for one in found] == ["patch", "component", None]
    assert found[2].level_share is found[2].level_map() is None
    assert found[0].levels["global"] == pytest.approx(10, abs=1e-4)


def test_what_is_no_number_is_named_by_nobody(detector):
    found = detector.detect(painted(0, 0, 0), task="blue")
    assert all(math.isnan(one) for one in found.levels.values())
    assert found.level is found.level_share is found.level_map() is None
    assert found.to_dict()["levels"] == dict.fromkeys(NAMES)
    partly = detector.detect(painted(0, 0, 120), task="blue")
    assert (partly.level, partly.level_share) == ("global", 1.0)
    json.dumps([one.to_dict() for one in (found, partly)], allow_nan=False)


def test_maps_are_stretched_over_the_frame(detector):
    frame = np.zeros((2 * SIDE, SIDE, 3), np.uint8)
    frame[:SIDE] = (120, 40, 250)
    frame[SIDE:] = (120, 240, 10)
    found = detector.detect(frame, task="blue")
    assert found.level == "component" and found.size == (2 * SIDE, SIDE)
    shown = found.level_map()
    assert shown.dtype == F32 and shown.shape == found.size
    # Far from the edge between the halves a stretched map has the value of its half.
    assert shown[4, 4] == pytest.approx(40, abs=1) and shown[-4, 4] == pytest.approx(240, abs=1)
    assert np.array_equal(found.level_map("component"), shown)
    assert found.level_map("global")[4, 4] == pytest.approx(250, abs=1)
    assert found.level_map("patch") == pytest.approx(np.full(found.size, 120), abs=1)
    with pytest.raises(CadEdgeError, match=r"no level 'locl'; it has patch, component, global$"):
        found.level_map("locl")


def test_levels_without_maps(bundle, workshop):
    give(workshop, NAMES, LEVELS, OF_LEVELS)
    with Detector.open(bundle, threads=1, watch=False) as detector:
        found = detector.detect(painted(110, 40, 130), task="blue")
    assert found.level == "global" and found.level_map() is found.level_map("patch") is None


def test_an_engine_without_levels_says_nothing(bundle, frames):
    with Detector.open(bundle, threads=1, watch=False) as detector:
        bad = detector.detect(frames["red.bad"][0])
        strange = detector.detect(painted(255, 255, 0))
    assert strange.verdict == "unknown_product"
    for found in (bad, strange):
        assert found.levels is found.level is found.level_share is found.level_map() is None
        assert found.to_dict()["levels"] is found.to_dict()["level_share"] is None
        with pytest.raises(CadEdgeError, match="no level 'patch'; it has no level"):
            found.level_map("patch")


def test_the_command_prints_them(bundle, workshop, tmp_path):
    give(workshop, NAMES, LEVELS + LEVEL_MAPS, OF_BOTH)
    Image.fromarray(painted(110, 0, 130)).save(tmp_path / "part.png")
    done = CliRunner().invoke(
        detect, [str(bundle), str(tmp_path / "part.png"), "--task", "blue", "--threads", "1"]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["level"], said["level_share"]) == ("global", pytest.approx(0.75))
    assert said["levels"] == {
        "patch": pytest.approx(10, abs=1e-4),
        "component": None,
        "global": pytest.approx(30, abs=1e-4),
    }


WRONG = {
    "names without levels": (NAMES, b"", {}, "names levels of task 'blue', and .* no 'levels'"),
    "levels without names": (
        [],
        LEVELS,
        OF_LEVELS,
        "gives 'levels', and the manifest names no level of task 'blue'",
    ),
    "maps without levels": (
        NAMES,
        LEVEL_MAPS,
        {"level_maps": ("batch", 3, SIDE, SIDE)},
        "gives 'level_maps' without 'levels'",
    ),
    "fewer names": (
        NAMES[:2],
        LEVELS,
        OF_LEVELS,
        r"gives 'levels' as float32 of shape \(1, 3\) where float32 of shape \(1, 2\)",
    ),
    "more names": ([*NAMES, "whole"], LEVELS, OF_LEVELS, r"of shape \(1, 4\) is wanted"),
    "levels of one axis": (
        NAMES,
        reduced("levels", "x", "ReduceMax", 1, 2, 3),
        {"levels": ("batch",)},
        r"gives 'levels' as float32 of shape \(1,\)",
    ),
    "levels of the batch": (
        NAMES,
        reduced("levels", "x", "ReduceMax", 0, 1),
        {"levels": (SIDE, 3)},
        r"gives 'levels' as float32 of shape \(32, 3\)",
    ),
    "maps of the last axis": (
        NAMES,
        LEVELS + operation("Relu", ["x"], ["level_maps"]),
        {**OF_LEVELS, "level_maps": ("batch", SIDE, SIDE, 3)},
        r"gives 'level_maps' as float32 of shape \(1, 32, 32, 3\) where .*\(1, 3, h, w\)",
    ),
    "maps of three axes": (
        NAMES,
        LEVELS + reduced("level_maps", "x", "ReduceMax", 1),
        {**OF_LEVELS, "level_maps": ("batch", SIDE, 3)},
        r"gives 'level_maps' as float32 of shape \(1, 32, 3\)",
    ),
    "a name twice": (["patch", "global", "patch"], LEVELS, OF_LEVELS, "a level is named twice"),
    "a name of nothing": (["patch", "", "global"], LEVELS, OF_LEVELS, "levels"),
    "too many names": ([str(n) for n in range(65)], LEVELS, OF_LEVELS, "levels"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_not_opened(bundle, workshop, created, case):
    names, operations, outputs, said = WRONG[case]
    give(workshop, names, operations, outputs)
    with pytest.raises((BundleError, GraphError), match=said) as refused:
        Detector.open(bundle, watch=False)
    assert not created and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((2, 2, 16, 32), True),
        ((2, 2, 17, 32), False),
        ((2, 2, 8, 33), False),
        ((2, 2, 0, 8), False),
        ((1, 2, 8, 8), False),
        ((2, 3, 8, 8), False),
        ((), False),
    ],
)
def test_maps_of_levels_are_no_more_than_the_largest_map(workshop, shape, fits):
    """With sides of up to 32, two maps may have 16 x 32 values each: 32 x 32 together."""
    plan = plan_chain(workshop.store.manifest().tasks["blue"].engine, ("score",), "blue")
    last = plan.stages[-1].name
    given = {f"{last}/levels": Feed((2, 2), FLOAT), f"{last}/level_maps": Feed(shape, FLOAT)}
    if fits:
        require_levels(plan, given, 2, SIDE, NAMES[:2], "blue")
        return
    with pytest.raises(GraphError, match="gives 'level_maps'"):
        require_levels(plan, given, 2, SIDE, NAMES[:2], "blue")


TWO = np.ones((2, 3), F32)
MAPS = np.ones((2, 3, 4, 5), F32)


@pytest.mark.parametrize(
    ("levels", "level_maps"),
    [
        (TWO[:1], MAPS),
        (TWO[:, :2], MAPS),
        (TWO[0], MAPS),
        (TWO.astype(np.float16), MAPS),
        (TWO, MAPS[:1]),
        (TWO, MAPS[:, :2]),
        (TWO, MAPS[:, :, :0]),
        (TWO, MAPS[0]),
        (TWO, MAPS.astype(np.float64)),
    ],
)
def test_what_comes_while_frames_are_inspected(detector, levels, level_maps):
    opened = detector._snapshot.tasks["blue"]
    names = opened.chain.results
    given = {names["score"]: np.ones(2, F32)}
    right = {**given, names["levels"]: TWO, names["level_maps"]: MAPS}
    assert answers_of(opened, right, 2)[3][1].added == dict.fromkeys(NAMES, 1.0)
    wrong = {**given, names["levels"]: levels, names["level_maps"]: level_maps}
    with pytest.raises(GraphError, match=r"'blue' gives 'level.*' as .*, not float32 of"):
        answers_of(opened, wrong, 2)


def test_a_stand_in_is_held_to_names_of_its_own(bundle, workshop):
    """What answers frames without depth may tell other levels apart, or none."""
    give(workshop, NAMES, LEVELS, OF_LEVELS)
    red = workshop.store.manifest().tasks["red"]
    for names, said in (([], None), (NAMES, "the manifest names levels of task 'blue'")):
        spare = red.model_copy(update={"levels": names})
        workshop.change_task(
            "blue", lambda entry, spare=spare: entry.model_copy(update={"without_depth": spare})
        )
        if said is None:
            with Detector.open(bundle, threads=1, watch=False) as detector:
                assert detector.detect(painted(110, 0, 0), task="blue").level == "patch"
        else:
            with pytest.raises(BundleError, match=said):
                Detector.open(bundle, watch=False)
