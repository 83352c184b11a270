"""Selection and decisions: from numbers to words."""

import math

import numpy as np
import pytest

from cad_edge.calibration import (
    Calibration,
    decide,
    decision_threshold,
    p_value,
    standardise,
)
from cad_edge.errors import GraphError
from cad_edge.store.manifest import Manifest, Recognition
from cad_edge_runtime.decision import judge_of
from cad_edge_runtime.selection import TaskDistances, reach_of, select, similarity

pytestmark = pytest.mark.torchless


def alone(*radii: float) -> tuple[TaskDistances, ...]:
    """Reaches of tasks whose radius alone decides."""
    return tuple(TaskDistances(radius, radius) for radius in radii)


def test_similarity_falls_with_the_distance_and_is_half_at_the_radius():
    found = [similarity(distance, 2.0) for distance in np.linspace(0, 20, 50)]
    assert found[0] == 1.0 and found == sorted(found, reverse=True) and found[-1] > 0
    assert similarity(2.0, 2.0) == 0.5
    assert similarity(math.nan, 2.0) == similarity(math.inf, 2.0) == 0.0
    assert similarity(-1e-7, 2.0) == 1.0


def test_nearest_task_wins_and_the_second_is_named():
    distance = np.array([[3.0, 1.0, 2.0], [9.0, 8.0, 7.0]], np.float32)
    first, second = select(distance, ("a", "b", "c"), alone(4.0, 2.0, 6.0))
    assert (first.task, first.known, first.runner_up.task) == ("b", True, "c")
    assert first.similarity == pytest.approx(0.8) and first.runner_up.similarity == 0.5
    assert (second.task, second.known, second.runner_up.task) == ("c", False, "b")
    assert second.similarity < 0.5


def test_runner_up_is_never_more_similar():
    (found,) = select(np.array([[1.0, 1.1]], np.float32), ("a", "b"), alone(0.5, 100.0))
    assert found.runner_up.similarity < found.similarity


def test_known_is_similarity_of_at_least_half(rng):
    for distance in rng.uniform(0, 2, 100).astype(np.float32):
        (found,) = select(np.array([[distance]]), ("a",), alone(1.0))
        assert found.known == (found.similarity >= 0.5) and found.runner_up is None
        assert not found.in_doubt


@pytest.mark.parametrize(
    ("distance", "known", "in_doubt"),
    [
        (1.9, True, False),
        (2.0, True, False),
        (2.1, True, True),
        (10.0, True, True),
        (10.1, False, False),
        (math.inf, False, False),
        (math.nan, False, False),
    ],
)
def test_between_sure_and_radius_a_frame_is_in_doubt(distance, known, in_doubt):
    (found,) = select(np.array([[distance]]), ("a",), (TaskDistances(2.0, 10.0),))
    assert (found.known, found.in_doubt) == (known, in_doubt)
    assert (found.similarity >= 0.5) == (known and not in_doubt)
    if math.isfinite(distance):
        assert (found.distance, found.ratio) == (distance, distance / 2)


def test_reach_is_that_of_the_manifest(bundle):
    manifest = next((bundle / "manifests").iterdir()).read_bytes()
    entry = Manifest.model_validate_json(manifest).tasks["red"]
    assert reach_of(entry) == TaskDistances(entry.radius, entry.radius)
    rule = Recognition(sure=0.5, map_level=0.0, map_span=1.0, limit=0.5)
    assert reach_of(entry.model_copy(update={"recognition": rule})) == TaskDistances(
        0.5, entry.radius
    )


def test_distance_that_is_no_number_is_unknown():
    (found,) = select(np.array([[np.nan, 0.1]], np.float32), ("a", "b"), alone(1.0, 1.0))
    assert not found.known


@pytest.mark.parametrize("shape", [(1, 3), (1, 1), (2,)])
def test_other_number_of_columns_is_refused(shape):
    with pytest.raises(GraphError, match="for 2 tasks"):
        select(np.zeros(shape, np.float32), ("a", "b"), alone(1.0, 1.0))


def test_judge_says_what_the_calibration_says(bundle, rng):
    manifest = next((bundle / "manifests").iterdir()).read_bytes()
    entry = Manifest.model_validate_json(manifest).tasks["red"]
    values = sorted(np.round(rng.normal(size=37), 1).tolist())
    calibration = Calibration(scheme="split", folds=1, scores=values, map_peaks=values)
    judge = judge_of(
        entry.model_copy(
            update={"calibration": calibration, "decision": decide(calibration, 0.01, 9)}
        )
    )
    for score in [*values, *rng.normal(size=20), math.inf, -math.inf, math.nan]:
        assert judge.p_value(score) == p_value(values, score)
        if math.isfinite(score):
            assert judge.standardise(score) == standardise(values, score)
    assert judge.threshold == judge.map_threshold == decision_threshold(values, 0.01)
    assert judge.minimum_area == 9 and not judge.supported


def test_constant_scores_do_not_divide_by_zero(bundle):
    manifest = next((bundle / "manifests").iterdir()).read_bytes()
    entry = Manifest.model_validate_json(manifest).tasks["red"]
    calibration = Calibration(scheme="split", folds=1, scores=[2.0, 2.0], map_peaks=[])
    judge = judge_of(entry.model_copy(update={"calibration": calibration}))
    assert judge.standardise(2.5) == standardise([2.0, 2.0], 2.5) == 0.5
