"""Levels of evidence in `cad-edge evaluate` and the demo: counts by kind, and pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file

from cad_edge import cli
from cad_edge.data.product import LabelledImage
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.demo.device import DemoInspection, Inspections, Maps
from cad_edge_benchmarks.demo.products import cards
from cad_edge_benchmarks.evaluate.levels import NO_LEVEL, Seen, level_counts, typical
from cad_edge_benchmarks.reporting.pictures import level_overlay, level_words
from tests.runtime.conftest import GOLDEN, Workshop
from tests.runtime.test_levels import LEVEL_MAPS, LEVELS, NAMES, OF_BOTH, engine


def seen(defect: str | None, level: str | None, score: float = 2.0, verdict: str = "anomalous"):
    item = LabelledImage(Path(f"{defect}-{level}-{score}"), defect)
    return Seen(item, verdict, score, level, () if verdict == "unknown_product" else ("a", "b"))


MANY = [
    seen(None, "b"),
    seen("crack", "b", 3.0),
    seen("crack", "b", 9.0),
    seen("crack", "b", 4.0),
    seen("crack", "a", 0.0, "normal"),
    seen("missing", None, 5.0),
    seen("missing", None, 5.0, "unknown_product"),
    seen("missing", "a", 1.0),
    seen("spot", "a", 0.0, "normal"),
]


def test_found_defects_are_counted_by_level_and_by_kind():
    assert level_counts(MANY) == {
        "a": {"crack": 0, "missing": 1, "spot": 0},
        "b": {"crack": 3, "missing": 0, "spot": 0},
        NO_LEVEL: {"crack": 0, "missing": 2, "spot": 0},
    }
    assert list(level_counts(MANY)) == ["a", "b", NO_LEVEL]
    assert NO_LEVEL not in level_counts(MANY[:5])
    assert level_counts([MANY[6]]) == {}


def test_examples_have_the_middle_score_of_their_kind_and_level():
    found = typical([*MANY, seen("crack", "a", 7.0)])
    assert [(one.item.label, one.level, one.score) for one in found] == [
        ("crack", "a", 7.0),
        ("crack", "b", 4.0),
        ("missing", "a", 1.0),
    ]


def test_a_map_of_a_level_is_coloured_from_its_quartile_to_its_peak():
    grey = np.full((8, 8, 3), 128, np.uint8)
    heat = np.zeros((8, 8), np.float32)
    heat[2, 3] = 1e-3
    drawn = level_overlay(grey, heat)
    changed = (drawn != grey).any(axis=2)
    assert changed[2, 3] and changed.sum() == 1
    assert np.array_equal(level_overlay(grey, 1e6 * heat), drawn)
    assert np.array_equal(level_overlay(grey, np.ones((8, 8), np.float32)), grey)
    assert level_overlay(grey, None) is level_overlay(grey, np.float32([[np.nan]])) is None
    assert level_words("global", 0.714) == "global 71 %" and level_words(None, None) == ""


def test_the_demo_shows_the_map_of_the_level_of_what_is_anomalous(tmp_path):
    Image.fromarray(np.full((8, 8, 3), 128, np.uint8)).save(tmp_path / "part.png")
    given = {"path": tmp_path / "part.png", "product": "red", "defect": "cut", "mask": None}
    given |= {"size": (8, 8), "task": "red", "nearest": "red", "calibrated_score": 4.0}
    given |= {"p_value": 0.02, "boxes": [], "seconds": 0.1, "stages": {}}
    named = {"level": "<whole>", "level_share": 0.714}
    heat = np.ones((4, 4), np.float32)
    for level, verdict, shown in ((named, "anomalous", 1), (named, "normal", 0), ({}, "normal", 0)):
        frame = DemoInspection(**given, **level, verdict=verdict)
        inspections = Inspections(frames=[frame], evaluations={}, torch_loaded=False)
        maps = Maps({0: heat}, {0: heat} if level else {})
        drawn = cards([frame], inspections, maps, Bundle(GOLDEN / "bundle").manifest()).html
        assert drawn.count("rests on &lt;whole&gt; 71 %") == drawn.count("trio") == shown
        assert drawn.count("<svg") == 2 + shown


@pytest.fixture
def line(tmp_path) -> Path:
    """The golden bundle whose red tells levels apart, and two kinds of defects of it."""
    bundle = shutil.copytree(GOLDEN / "bundle", tmp_path / "bundle")
    workshop = Workshop(Bundle(bundle))
    sha = workshop.store.add_object({"graph.onnx": engine(LEVELS + LEVEL_MAPS, OF_BOTH)})
    first = workshop.store.manifest().tasks["blue"].engine.stages[-1]
    stage = first.model_copy(update={"graph": sha})

    def telling(entry):
        bare = {"stages": [stage], "tensors": None}
        return entry.model_copy(
            update={"levels": NAMES, "engine": entry.engine.model_copy(update=bare)}
        )

    workshop.change_task("red", telling)
    frames = load_file(GOLDEN / "frames.safetensors")
    for place, shown in (
        ("train/good", frames["red.good"]),
        ("test/good", frames["red.good"]),
        ("test/square", frames["red.bad"]),
        ("test/foreign<b>", np.full((1, 32, 32, 3), (250, 250, 0), np.uint8)),
    ):
        (tmp_path / "red" / place).mkdir(parents=True)
        for number, frame in enumerate(shown):
            Image.fromarray(frame).save(tmp_path / "red" / place / f"{number}.png")
    return tmp_path


def test_the_report_says_what_found_defects_rest_on(line):
    call = ["evaluate", line / "bundle", "--stream", line / "red", "--out", line / "out"]
    done = CliRunner().invoke(cli.main, [str(one) for one in call])
    assert done.exit_code == 0, done.stderr
    # Red parts are red: the mean of their first channel lies above 100, those of others below.
    assert json.loads((line / "out/evaluate.json").read_text())["tasks"]["red"]["levels"] == {
        "patch": {"foreign<b>": 0, "square": 2},
        "component": {"foreign<b>": 0, "square": 0},
        "global": {"foreign<b>": 0, "square": 0},
        NO_LEVEL: {"foreign<b>": 1, "square": 0},
    }
    assert "What found defects rest on" in done.stdout and NO_LEVEL in done.stdout
    page = (line / "out/evaluate.html").read_text()
    assert page.count("map of patch</small>") == 1 and "rests on patch 100 %" in page
    assert "foreign&lt;b&gt;" in page and "foreign<b>" not in page


def test_a_bundle_without_levels_has_no_such_section(line):
    shutil.rmtree(line / "bundle")
    shutil.copytree(GOLDEN / "bundle", line / "bundle")
    call = ["evaluate", line / "bundle", "--stream", line / "red", "--out", line / "out"]
    done = CliRunner().invoke(cli.main, [str(one) for one in call])
    assert done.exit_code == 0, done.stderr
    assert "levels" not in json.loads((line / "out/evaluate.json").read_text())["tasks"]["red"]
    assert "rest on" not in (line / "out/evaluate.html").read_text()
