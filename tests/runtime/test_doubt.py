"""Frames that are neither surely of a product nor surely of none: their map decides."""

import math

import numpy as np
import pytest

from cad_edge.calibration import lower_quartile
from cad_edge.errors import UnknownTask
from cad_edge.store.manifest import Recognition, TaskEntry
from cad_edge_runtime import Detector
from tests.runtime.golden_depth import give_depth, plane
from tests.runtime.golden_words import give_words, needs_tokenizers
from tests.runtime.onnx_bytes import field, model

pytestmark = pytest.mark.torchless
TASKS = ("blue", "green", "red")


@pytest.fixture
def rule(bundle, frames) -> Recognition:
    """A rule by which no frame is surely red, from the maps of red's good parts."""
    with Detector.open(bundle, threads=1, watch=False) as detector:
        near = min(distance(detector, image) for image in frames["red.bad"])
        good = [detector.detect(image, task="red").anomaly_map for image in frames["red.good"]]
        bad = detector.detect(frames["red.bad"][0], task="red").anomaly_map
    level = float(lower_quartile(np.stack(good)).max())
    return Recognition(sure=near / 2, map_level=level, map_span=float(bad.max()) - level, limit=0.1)


def distance(detector: Detector, image: np.ndarray) -> float:
    """Distance to the nearest product, where its radius alone decides."""
    found = detector.detect(image)
    radius = detector.manifest.tasks[found.nearest].radius
    return radius * math.sqrt(1 / found.similarity - 1)


@pytest.fixture
def doubting(workshop, rule):
    """Puts the rule of every task in force; frames of any distance are in doubt then."""

    def put(**changed: object) -> None:
        def with_rule(entry: TaskEntry) -> TaskEntry:
            update = {"radius": 1e6, "recognition": rule.model_copy(update=changed)}
            return entry.model_copy(update=update)

        for name in TASKS:
            workshop.change_task(name, with_rule)

    return put


@pytest.fixture
def detector(bundle, doubting):
    doubting()
    with Detector.open(bundle, threads=1, watch=False) as opened:
        yield opened


def test_a_local_defect_in_doubt_stays_anomalous(detector, frames, runs):
    found = detector.detect(frames["red.bad"][0])
    assert (found.task, found.verdict) == ("red", "anomalous")
    assert found.similarity < 0.5 and found.defects != ()
    assert found.score == pytest.approx(float(frames["red.bad.score"][0]), abs=1e-5)
    assert len(runs) == 3


def test_what_is_strange_everywhere_is_unknown_after_its_engine_has_run(detector, amber, runs):
    found = detector.detect(amber[0])
    assert found.verdict == "unknown_product"
    assert found.nearest in TASKS and found.similarity < 0.5 and found.runner_up is not None
    assert found.task is found.score is found.p_value is found.threshold is None
    assert found.calibrated_score is found.probability is found.anomaly_map is None
    assert found.false_reject_supported is found.depth_used is None and found.defects == ()
    assert found.timings.detect > 0 and found.timings.post > 0
    assert len(runs) in (3, 4)  # blue's graph is fused


def test_the_rule_is_that_of_the_map_and_the_distance(detector, amber, rule):
    """Worked by hand: q sqrt(r) on either side of the limit."""
    found = detector.detect(amber[0])
    anomaly_map = detector.detect(amber[0], task=found.nearest).anomaly_map
    strangeness = (np.sort(anomaly_map.ravel())[64] - rule.map_level) / rule.map_span
    ratio = math.sqrt(1 / found.similarity - 1)
    assert strangeness * math.sqrt(ratio) > rule.limit


@pytest.mark.parametrize(("factor", "verdict"), [(0.99, "unknown_product"), (1.01, "normal")])
def test_a_frame_is_unknown_above_the_limit_alone(
    bundle, doubting, detector, amber, rule, factor, verdict
):
    found = detector.detect(amber[0])
    quartile = float(
        lower_quartile(detector.detect(amber[0], task=found.nearest).anomaly_map[None])[0]
    )
    ratio = math.sqrt(1 / found.similarity - 1)
    at = (quartile - rule.map_level) / rule.map_span * math.sqrt(ratio)
    doubting(limit=factor * at)
    with Detector.open(bundle, threads=1, watch=False) as other:
        assert other.detect(amber[0]).verdict == verdict


def test_a_given_task_never_becomes_unknown(detector, amber):
    found = detector.detect(amber[0], task="red")
    assert (found.task, found.verdict) == ("red", "normal")
    assert found.similarity is None


def test_a_frame_that_is_sure_is_not_asked_for_its_map(bundle, doubting, frames, monkeypatch):
    from cad_edge_runtime import inspection

    doubting(sure=1e5, limit=1e-9)
    monkeypatch.setattr(inspection, "lower_quartile", None)
    with Detector.open(bundle, threads=1, watch=False) as detector:
        assert detector.detect(frames["red.bad"][0]).verdict == "anomalous"


def test_beyond_the_radius_no_engine_runs(bundle, workshop, rule, amber, runs):
    for name in TASKS:
        workshop.change_task(name, lambda entry: entry.model_copy(update={"recognition": rule}))
    with Detector.open(bundle, threads=1, watch=False) as detector:
        found = detector.detect(amber[0])
    assert (found.verdict, found.timings.detect, len(runs)) == ("unknown_product", 0, 2)


def test_a_batch_answers_as_single_frames(detector, frames, amber):
    images = [*frames["red.bad"], amber[0], *frames["green.good"], amber[1], *frames["blue.bad"]]
    single = [detector.detect(image) for image in images]
    batch = detector.detect_batch(images)
    assert [one.verdict for one in batch] == [one.verdict for one in single]
    assert [one.task for one in batch] == [one.task for one in single]
    assert {one.verdict for one in batch} >= {"unknown_product", "anomalous"}
    for one, other in zip(batch, single, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_a_map_that_is_no_number_is_no_product(bundle, workshop, doubting, frames):
    """The square root of minus the features: NaN nearly everywhere."""
    doubting()
    nodes = (
        field(1, field(1, "features") + field(2, "low") + field(4, "Neg")),
        field(1, field(1, "low") + field(2, "root") + field(4, "Sqrt")),
        field(1, _mean("root", "anomaly_map", [1])),
        field(1, _mean("features", "score", [1, 2, 3])),
    )
    given = field(11, _port("features", 8, 16, 16)) + field(11, _port("bank", 8, whole="patches"))
    said = field(12, _port("score")) + field(12, _port("anomaly_map", 16, 16))
    workshop.change_graph("red", model(b"".join(nodes) + field(2, "nan") + given + said, opset=17))
    with Detector.open(bundle, threads=1, watch=False) as detector:
        assert np.isnan(detector.detect(frames["red.bad"][0], task="red").anomaly_map).mean() > 0.9
        assert detector.detect(frames["red.bad"][0]).verdict == "unknown_product"


def _port(name: str, *sides: int, whole: str = "batch") -> bytes:
    shape = field(1, field(2, whole)) + b"".join(field(1, field(1, side)) for side in sides)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def _mean(source: str, name: str, axes: list[int]) -> bytes:
    over = field(1, "axes") + b"".join(field(8, axis) for axis in axes) + field(20, 7)
    keep = field(1, "keepdims") + field(3, 0) + field(20, 2)
    return (
        field(1, source) + field(2, name) + field(4, "ReduceMean") + field(5, over) + field(5, keep)
    )


def test_what_stands_in_judges_by_the_rule_of_its_own_maps(bundle, workshop, rule, frames):
    """In doubt without depth: strict maps call it unknown, no maps leave its smaller radius."""
    give_depth(workshop, "red", stand_in=True)

    def put(radius: float, stand_in: Recognition | None) -> str:
        def changed(entry: TaskEntry) -> TaskEntry:
            other = entry.without_depth.model_copy(
                update={"radius": radius, "recognition": stand_in}
            )
            lenient = rule.model_copy(update={"limit": 1e9})
            update = {"radius": 1e6, "recognition": lenient, "without_depth": other}
            return entry.model_copy(update=update)

        workshop.change_task("red", changed)
        with Detector.open(bundle, threads=1, watch=False) as detector:
            assert detector.detect(frames["red.good"][0], depth=plane(500)).task == "red"
            return detector.detect(frames["red.bad"][0]).verdict

    strict = rule.model_copy(update={"map_level": -1.0, "limit": 1e-9})
    assert put(1e6, rule) == "anomalous"
    assert put(1e6, strict) == "unknown_product"
    assert put(1e6, None) == "anomalous"
    assert put(1e-6, None) == "unknown_product"


@needs_tokenizers
def test_words_are_for_frames_that_the_map_vouches_for(bundle, workshop, doubting, frames, amber):
    for name in TASKS:
        give_words(workshop, name)
    doubting()
    with Detector.open(bundle, threads=1, watch=False) as detector:
        assert detector.explain(frames["red.bad"][0], max_tokens=3).task == "red"
        with pytest.raises(UnknownTask, match="the frame shows no product that the bundle knows"):
            detector.explain(amber[0], max_tokens=3)
