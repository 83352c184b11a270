"""Defects found, good parts rejected and what calibration loses, worked by hand."""

import math

import pytest

from cad_edge_benchmarks.instruments.proportion import clopper_pearson
from cad_edge_benchmarks.instruments.verdicts import judge_verdicts, perfect_threshold, pooled
from tests.benchmarks.judged_outcomes import TEN, outcomes


@pytest.mark.parametrize(
    ("rate", "limit"),
    [
        (0.05, 9.0),  # floor(0.5) = 0 of ten may lie above
        (0.1, 8.0),  # one: 9
        (0.19, 8.0),  # floor(1.9) is one
        (0.3, 6.0),  # three: 7, 8, 9, although 0.3 * 10 may round below 3
        (0.999, 0.0),
    ],
)
def test_the_perfect_threshold_rejects_as_many_as_stated(rate, limit):
    assert perfect_threshold(TEN, rate) == limit
    assert sum(score > limit for score in TEN) == math.floor(rate * 10 + 1e-9)


def test_a_share_that_binary_fractions_miss():
    """0.29 * 100 is 28.999999999999996 in binary fractions, and 29 are allowed."""
    assert perfect_threshold([float(value) for value in range(100)], 0.29) == 70.0


def test_ties_with_the_perfect_threshold_are_not_rejected():
    """Two of five may be rejected, but the second and third best are equal: one is."""
    assert perfect_threshold([1.0, 2.0, 3.0, 3.0, 4.0], 0.4) == 3.0
    found = judge_verdicts(outcomes([1.0, 2.0, 3.0, 3.0, 4.0], [3.0, 3.5], 3.9), 0.4)
    assert found.detection_rate_perfect == 1 / 2
    assert found.false_reject_rate == 1 / 5


def test_a_threshold_that_is_too_careful_loses_defects():
    """Ten good from 0 to 9, defects at 5, 8.5, 9.5, 11 and 20; threshold 10; stated 10 %."""
    found = judge_verdicts(outcomes(TEN, [5.0, 8.5, 9.5, 11.0, 20.0], 10.0), 0.1)
    assert found.detection_rate == 2 / 5
    assert found.false_reject_rate == 0.0
    assert found.false_reject_interval == clopper_pearson(0, 10)
    # a threshold at 8 rejects the good 9 alone, and finds all but the defect at 5
    assert found.detection_rate_perfect == 4 / 5
    assert found.lost_by_calibration == pytest.approx(2 / 5)
    assert found.found_of_perfect == 1 / 2
    assert (found.unknown_normal, found.unknown_defective) == (0.0, 0.0)
    assert (found.images_normal, found.images_defective) == (10, 5)


def test_a_threshold_that_rejects_more_than_stated_loses_less_than_nothing():
    found = judge_verdicts(outcomes(TEN, [5.0, 8.5, 9.5, 11.0, 20.0], 4.0), 0.1)
    assert (found.detection_rate, found.false_reject_rate) == (1.0, 5 / 10)
    assert found.lost_by_calibration == pytest.approx(-1 / 5)
    assert found.found_of_perfect == pytest.approx(5 / 4)


def test_refused_images_are_rejected_and_score_highest():
    """One good image of ten is refused, which the stated 10 % allow; the threshold is at 9."""
    found = judge_verdicts(outcomes([*TEN[:8], 9.0, None], [8.0, 9.5, None, None], 20.0), 0.1)
    assert (found.detection_rate, found.false_reject_rate) == (2 / 4, 1 / 10)
    assert (found.unknown_normal, found.unknown_defective) == (1 / 10, 2 / 4)
    assert found.detection_rate_perfect == 3 / 4


def test_more_good_parts_refused_than_stated_leave_a_perfect_threshold_nothing():
    """Whatever is refused ties with them, so no threshold keeps the rate and finds a defect."""
    found = judge_verdicts(outcomes([*TEN[:8], None, None], [30.0, None], 20.0), 0.1)
    assert found.detection_rate == 1.0
    assert found.detection_rate_perfect == 0.0
    assert found.lost_by_calibration == -1.0
    assert found.found_of_perfect is None


def test_what_one_class_cannot_tell_is_undefined():
    good = judge_verdicts(outcomes(TEN, [], 8.0), 0.1)
    assert good.false_reject_rate == 1 / 10
    assert good.detection_rate is good.detection_rate_perfect is good.lost_by_calibration is None
    assert good.found_of_perfect is good.unknown_defective is None
    bad = judge_verdicts(outcomes([], [9.0], 8.0), 0.1)
    assert bad.detection_rate == 1.0
    assert bad.false_reject_rate is bad.false_reject_interval is bad.unknown_normal is None
    assert bad.detection_rate_perfect is bad.lost_by_calibration is bad.found_of_perfect is None


def test_pooled_figures_count_every_image_once():
    careful = judge_verdicts(outcomes(TEN, [5.0, 8.5, 9.5, 11.0, 20.0], 10.0), 0.1)
    perfect = judge_verdicts(outcomes([0.0] * 4 + [None], [1.0], 0.5), 0.1)
    found = pooled([careful, perfect])
    assert found.detection_rate == (2 + 1) / 6
    assert found.false_reject_rate == 1 / 15
    assert found.false_reject_interval == clopper_pearson(1, 15)
    assert perfect.detection_rate_perfect == 0.0  # the one refused is more than 10 % of five
    assert found.detection_rate_perfect == (4 + 0) / 6
    assert found.lost_by_calibration == pytest.approx((4 - 3) / 6)
    assert found.found_of_perfect == 3 / 4
    assert (found.unknown_normal, found.unknown_defective) == (1 / 15, 0.0)


def test_pooling_compares_only_tasks_that_have_a_perfect_threshold():
    both = judge_verdicts(outcomes(TEN, [5.0, 8.5, 9.5, 11.0, 20.0], 10.0), 0.1)
    found = pooled([both, judge_verdicts(outcomes([], [1.0, 9.0], 8.0), 0.1)])
    assert found.detection_rate == 3 / 7
    assert found.detection_rate_perfect == 4 / 5
    assert found.lost_by_calibration == pytest.approx(2 / 5)
    assert found.found_of_perfect == 1 / 2
    assert pooled([]).detection_rate is None
