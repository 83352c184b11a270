"""Evaluating a bundle that looks at depth: what answers a frame gives the scale of its map."""

import json

from click.testing import CliRunner

from cad_edge.cli import main
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.evaluate.command import answering
from tests.runtime.conftest import Workshop
from tests.runtime.golden_depth import SCORES, give_depth


def figures(bundle, stream_file, out) -> dict[str, object]:
    words = ["evaluate", str(bundle), "--stream", str(stream_file), "--out", str(out)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(out.read_text())
    return found


def test_frames_without_depth_are_measured_as_by_the_stand_in_alone(golden, stream_file, tmp_path):
    """What inspected `red` before is its stand-in, so that every figure stays as it was."""
    before = figures(golden, stream_file, tmp_path / "before.json")
    assert before["tasks"]["red"]["pixel_auroc"] is not None
    give_depth(Workshop(Bundle(golden)), "red", stand_in=True)
    assert figures(golden, stream_file, tmp_path / "after.json") == before


def test_figures_are_those_of_what_answers(golden):
    store = Bundle(golden)
    given = give_depth(Workshop(store), "red", stand_in=True)
    manifest: Manifest = store.manifest()
    with_depth, without = (answering(manifest, depth) for depth in (True, False))
    assert with_depth["red"].calibration.scores == SCORES
    assert without["red"].calibration == given.before.calibration
    assert with_depth["blue"] == without["blue"] == manifest.tasks["blue"]
