"""When a frame shows a product: hand-worked rules, and manifests of before."""

import json
import math

import pytest
from pydantic import ValidationError

from cad_edge.calibration import Calibration
from cad_edge.recognition import (
    LIMIT,
    OUTER,
    REJECTION_MARGIN,
    recognised,
    recognition_of,
    shows_product,
)
from cad_edge.schema import canonical_json
from cad_edge.store.manifest import Recognition, TaskEntry
from tests.base.bundle_samples import entry

pytestmark = pytest.mark.torchless

PEAKS = [float(value) for value in range(1, 40)]
"""39 of them, so that a rate of 5 % lies at the 38th: (39 + 1) * 0.95."""


def calibration(peaks=PEAKS, quartiles=(0.5, 1.0, 3.0)) -> Calibration:
    return Calibration(
        scheme="split",
        folds=1,
        scores=[1.0],
        map_peaks=list(peaks),
        map_quartiles=list(quartiles),
    )


def test_level_and_span_are_those_of_held_out_maps():
    found = recognition_of(calibration(), 2.0)
    assert found == Recognition(sure=2.0, map_level=3.0, map_span=38.0 - 3.0, limit=LIMIT)


def test_level_is_a_conformal_quantile():
    """Of 199 maps, two may lie above: ceil(200 * 0.99) = 198."""
    quartiles = [place / 100 for place in range(1, 200)]
    assert recognition_of(calibration(quartiles=quartiles), 2.0).map_level == 1.98


@pytest.mark.parametrize(
    ("peaks", "quartiles"),
    [
        ([], []),
        (PEAKS, []),
        ([], [1.0]),
        (PEAKS, [38.0]),  # strange everywhere: no span is left
        (PEAKS, [90.0]),
        ([0.0] * 39, [0.0]),
    ],
)
def test_maps_that_say_nothing_leave_the_radius_alone(peaks, quartiles):
    """No format holds NaN or infinity; a calibration that was not read or written still may."""
    said = calibration().model_copy(update={"map_peaks": peaks, "map_quartiles": quartiles})
    assert recognition_of(said, 2.0) is None


@pytest.mark.parametrize(
    ("ratio", "quartile", "expected"),
    [
        (1.0, 3.0, True),
        (1.0, 3.0 + 0.54 * 35, True),  # q = 0.54
        (1.0, 3.0 + 0.56 * 35, False),  # q = 0.56
        (4.0, 3.0 + 0.27 * 35, True),  # 2 * 0.27 = 0.54
        (4.0, 3.0 + 0.28 * 35, False),  # 2 * 0.28 = 0.56
        (5.0, -100.0, True),
        (2.0, math.inf, False),
        (2.0, math.nan, False),
        (math.nan, 4.0, False),
    ],
)
def test_the_farther_a_frame_the_less_strange_its_map_may_be(ratio, quartile, expected):
    assert shows_product(recognition_of(calibration(), 2.0), ratio, quartile) is expected


def test_a_task_with_maps_has_two_distances_and_one_without_has_one():
    plain = recognised(entry("red", 0), 2.0)
    assert (plain.radius, plain.recognition) == (REJECTION_MARGIN * 2.0, None)
    mapped = entry("red", 0).model_copy(update={"calibration": calibration()})
    found = recognised(mapped, 2.0)
    assert (found.radius, found.recognition.sure) == (OUTER * 2.0, 2.0)


def test_what_stands_in_without_depth_has_the_rule_of_its_own_maps():
    other = entry("red", 0).model_copy(update={"calibration": calibration(quartiles=[8.0])})
    main = entry("red", 0).model_copy(update={"calibration": calibration(), "without_depth": other})
    found = recognised(main, 2.0)
    assert found.without_depth.radius == found.radius == 10.0
    assert (found.recognition.map_level, found.without_depth.recognition.map_level) == (3.0, 8.0)
    blind = main.model_copy(update={"without_depth": entry("red", 0)})
    spare = recognised(blind, 2.0).without_depth
    assert (spare.radius, spare.recognition) == (REJECTION_MARGIN * 2.0, None)


def test_a_rule_that_there_was_before_does_not_stay():
    mapped = entry("red", 0).model_copy(update={"calibration": calibration()})
    unmapped = recognised(mapped, 2.0).model_copy(update={"calibration": calibration(quartiles=[])})
    assert recognised(unmapped, 3.0).recognition is None


def test_an_entry_without_a_rule_keeps_the_bytes_it_had():
    plain = entry("red", 0)
    assert b"recognition" not in canonical_json(plain)
    mapped = recognised(plain.model_copy(update={"calibration": calibration()}), 2.0)
    data = canonical_json(mapped)
    assert json.loads(data)["recognition"] == {
        "sure": 2.0,
        "map_level": 3.0,
        "map_span": 35.0,
        "limit": LIMIT,
    }
    assert TaskEntry.model_validate_json(data) == mapped


@pytest.mark.parametrize("field", ["sure", "map_span", "limit"])
def test_a_rule_has_no_zero_to_divide_by(field):
    good = {"sure": 1.0, "map_level": 0.0, "map_span": 1.0, "limit": 0.5}
    with pytest.raises(ValidationError, match=field):
        Recognition(**{**good, field: 0.0})
