"""Figures of exported engines with depth: by hand where they are counted, and on small parts."""

import numpy as np
import pytest

from cad_edge.errors import CadEdgeError
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_studies.rgbd_comparison import engines, learning
from cad_edge_studies.rgbd_comparison.agreement import (
    Agreement,
    Answers,
    agreement,
    compare,
    joined,
)
from cad_edge_studies.rgbd_comparison.device_process import growth
from cad_edge_studies.rgbd_comparison.engines import frame_line, targets
from cad_edge_studies.rgbd_comparison.frame_time import by_kind, measure_frame, multiplications
from cad_edge_studies.rgbd_comparison.task_sequence import LONGEST, OURS, Run
from cad_edge_training.backbones import load_backbone
from cad_edge_training.train import train
from tests.training.rgbd_products import QUICK, SIDE, quick_plan, rgbd_stream
from tests.training.small_products import quiet

GOOD = np.array([True, True, False])


def answers(scores: list[float], level: float = 0.0) -> Answers:
    maps = np.zeros((3, 2, 2), np.float32)
    maps[1] = 4
    return Answers(np.array(scores), maps + np.float32(level))


def test_differences_are_fractions_of_the_range_of_good_parts():
    expected = answers([1.0, 3.0, 9.0])
    found = compare(answers([1.0, 3.5, 9.0], level=0.5), expected, GOOD, threshold=3.2)
    # 0.5 of 3 - 1, 0.5 of 4 - 0, and 3.5 lies on the other side of 3.2.
    assert found == Agreement(images=3, score_max=0.25, map_max=0.125, flips=1)


def test_products_are_joined_by_the_worst():
    found = joined([Agreement(3, 0.1, 0.4, 0), Agreement(2, 0.2, 0.3, 1)])
    assert found == Agreement(5, 0.2, 0.4, 1)


def test_time_by_kind_leaves_out_the_first_fifth():
    events = [
        {"name": "model_run", "ts": start, "dur": 9, "args": {}} for start in range(0, 500, 100)
    ]
    for start in range(0, 500, 100):
        # The first run is slow.
        args, duration = {"op_name": "Conv"}, 9000 if start == 0 else 2000
        events.append(
            {"name": "a_kernel_time", "ts": start + 1, "dur": duration, "args": args},
        )
    assert by_kind(events) == {"Conv": 2.0}


def test_multiplications_by_hand():
    shapes = {
        "input_type_shape": [{"float": [2, 3, 5]}, {"float": [5, 7]}],
        "output_type_shape": [{"float": [2, 3, 7]}],
    }
    once = [
        {"name": "model_run", "args": {}},
        {"name": "a_kernel_time", "args": {"op_name": "MatMul", **shapes}},
        {"name": "b_kernel_time", "args": {"op_name": "Add", **shapes}},
    ]
    # 2 x 3 x 7 values of 5 products each, however often it runs.
    assert multiplications(3 * once) == 210


class SmallRun(Run):
    """A run of two small products."""

    @property
    def options(self):
        return QUICK

    def steps(self):
        return [("gear",), ("bolt",)]


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """Artifacts of two small products, their bundle and their stream."""
    place = tmp_path_factory.mktemp("engines")
    stream = rgbd_stream(place / "line", (("gear", "bolt"),))
    train(stream, place / "artifacts", quick_plan(), lambda name: quiet)
    learned = [place / "artifacts" / task.name for task in stream.tasks]
    export_artifacts(learned, place / "bundle", ExportPlan(), quiet)
    return place, stream, learned


def test_bundle_agrees_with_torch_on_all_test_parts(line):
    place, stream, _ = line
    backbone = load_backbone("efficientnet-lite0", SIDE)
    found = agreement(place / "bundle", place / "artifacts", stream, backbone, 1)
    assert found.images == sum(len(task.images().test) for task in stream.tasks)
    assert 0 < found.score_max < 1e-4
    assert found.flips == 0


def test_frame_beside_two_bare_passes(line):
    place, _, learned = line
    found = measure_frame(place / "bundle", learned[0], place / "trunk", 1, 20, None)
    assert found.ratio.rounds == 20
    assert found.ratio.median > 1  # a frame passes the backbone twice, and then the network
    assert found.routed
    assert found.verdict in ("normal", "anomalous")
    assert {"0 Conv", "1 MatMul"} <= set(found.operators_ms)
    shown = found.operators_ms
    assert list(shown.values()) == sorted(shown.values(), reverse=True)
    assert found.multiplications > 0


def test_memory_of_more_bundles_is_more(line):
    place, _, _ = line
    bundle = place / "bundle"
    grown, whole = growth([bundle], 1)
    twice, _ = growth([bundle, bundle], 1)
    assert 0 < grown < twice
    assert whole > grown
    with pytest.raises(CadEdgeError, match="device process failed"):
        growth([place / "none"], 1)


def made_up() -> dict:
    ratio = {"median": 2.5, "lower_quartile": 2.4, "upper_quartile": 2.6}
    times = {"p50": 25.0}
    frame = {"frame": times, "passes": {"p50": 10.0}, "ratio": ratio}
    frame |= {"routed": True, "verdict": "normal"}
    frame["operators_ms"] = {"1 MatMul": 12.0, "0 Conv": 3.0}
    frame["multiplications"] = 4_230_000_000
    return {
        "agreement": {
            "rgbd": {"images": 9, "score_max": 1e-6, "map_max": 2e-4, "flips": 0},
            "rgb": {"images": 9, "score_max": 1e-6, "map_max": 1e-5, "flips": 1},
        },
        "frames": {"efficientnet-lite0": frame, "efficientnet-b4": frame},
        # A model takes 10, and the runtime 5 whatever it opens: 10 of 100, and 15 of 105.
        "memory": {
            **{"tasks": 10, "grown_bytes": 15, "grown_bytes_one": 15, "grown_bytes_single": 105},
            **{"disk_bytes": 11, "disk_bytes_single": 100},
        },
        "rollback": {"frames": 4, "equal_to_before": True, "equal_to_newest": False},
    }


def test_targets_read_the_result():
    found = {target.what: target.reached for target in targets(made_up())}
    assert found == {
        "exported against torch, rgbd": False,
        "label flips, rgbd": True,
        "exported against torch, rgb": True,
        "label flips, rgb": False,
        "frame with B4 to two bare passes": False,
        "memory to that of 10 models": True,
        "memory to that of 10 models, the runtime's own included": False,
        "memory to that of 10 models, on the disk": True,
        "scores that differ after going back": True,
    }


def test_memory_of_models_is_without_that_of_the_runtime():
    values = {target.what: target.value for target in targets(made_up())}
    assert values["memory to that of 10 models"] == pytest.approx(0.1)
    assert values["memory to that of 10 models, the runtime's own included"] == pytest.approx(1 / 7)


def test_going_back_to_the_same_scores_is_no_going_back():
    result = made_up()
    result["rollback"]["equal_to_newest"] = True
    assert not targets(result)[-1].reached


def test_frame_line_says_ratio_and_profile():
    said = frame_line(made_up()["frames"]["efficientnet-b4"])
    assert "25.0 ms, two bare passes 10.0 ms, ratio 2.50" in said
    assert "recognised, normal" in said
    assert "1 MatMul" in said
    assert "4.23 G multiplications" in said


def test_engines_learn_what_is_not_there_and_keep_it(tmp_path, monkeypatch):
    stream = rgbd_stream(tmp_path / "line", (("gear",), ("bolt",)), good=3)
    monkeypatch.setattr(learning, "stream_of", lambda *_: stream)
    run = SmallRun(OURS, LONGEST, "rgbd", 0)
    found = engines._learned(tmp_path, run)
    assert found == [tmp_path / run.name / "artifacts" / name for name in ("gear", "bolt")]
    written = [(one / "artifact.json").stat().st_mtime_ns for one in found]
    engines._learned(tmp_path, run)
    assert [(one / "artifact.json").stat().st_mtime_ns for one in found] == written
