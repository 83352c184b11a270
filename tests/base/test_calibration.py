"""Thresholds and p-values by hand, and what they promise by simulation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from cad_edge.calibration import (
    Calibration,
    Decision,
    conformal_threshold,
    decide,
    decision_threshold,
    find_outliers,
    images_needed,
    lower_quartile,
    p_value,
    require_rate,
    robust_z,
    standardise,
)
from cad_edge.errors import OptionError

pytestmark = pytest.mark.torchless

NINE = [float(number) for number in range(1, 10)]


@pytest.mark.parametrize(
    ("rate", "threshold"),
    # k = ceil(10 (1 - rate)): 9, 8, 8, 5 and, with more asked than nine images give, the largest.
    [(0.1, 9.0), (0.2, 8.0), (0.25, 8.0), (0.5, 5.0), (0.9, 1.0), (0.99, 1.0), (0.05, 9.0)],
)
def test_threshold_is_the_order_statistic_worked_by_hand(rate, threshold):
    assert conformal_threshold(NINE, rate) == threshold


def test_threshold_of_one_score_is_that_score():
    assert conformal_threshold([3.5], 0.01) == conformal_threshold([3.5], 0.9) == 3.5


@pytest.mark.parametrize("percent", [1, 2, 3, 5, 7, 10, 20, 25, 30, 50, 99])
@pytest.mark.parametrize("count", [1, 4, 19, 33, 99, 100, 199])
def test_rank_is_exact_where_binary_fractions_are_not(count, percent):
    rank = math.ceil((count + 1) * (1 - Fraction(percent, 100)))
    scores = [float(number) for number in range(1, count + 1)]
    assert conformal_threshold(scores, percent / 100) == min(max(rank, 1), count)


@pytest.mark.parametrize(
    ("rate", "needed"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.001, 999), (0.3, 3)]
)
def test_images_needed_by_hand(rate, needed):
    assert images_needed(rate) == needed


@pytest.mark.parametrize("percent", range(1, 100))
def test_images_needed_is_the_fewest_that_support_the_rate(percent):
    rate = Fraction(percent, 100)
    needed = images_needed(percent / 100)
    assert math.ceil((needed + 1) * (1 - rate)) <= needed
    assert needed == 1 or math.ceil(needed * (1 - rate)) > needed - 1


@pytest.mark.parametrize(("count", "rate"), [(19, 0.1), (99, 0.01), (50, 0.05), (200, 0.02)])
def test_false_rejects_of_exchangeable_scores_stay_below_the_stated_rate(count, rate, rng):
    """Over draws of calibration and new score the share above is 1 - k / (n + 1), exactly."""
    trials = 20_000
    scores = np.sort(rng.gamma(2.0, size=(trials, count)), axis=1)
    new = rng.gamma(2.0, size=trials)
    thresholds = np.array([conformal_threshold(row, rate) for row in scores])
    rejected = float((new > thresholds).mean())
    expected = (count + 1 - math.ceil((count + 1) * (1 - rate) - 1e-9)) / (count + 1)
    assert 0 < expected <= rate
    spread = math.sqrt(expected * (1 - expected) / trials)
    assert abs(rejected - expected) < 4 * spread


def test_too_few_images_reject_more_than_stated_and_say_so(rng):
    scores = np.sort(rng.normal(size=(5_000, 10)), axis=1)
    new = rng.normal(size=5_000)
    rejected = float((new > np.array([conformal_threshold(row, 0.01) for row in scores])).mean())
    assert rejected > 0.05
    calibration = Calibration(scheme="split", folds=1, scores=scores[0].tolist(), map_peaks=[])
    decision = decide(calibration, 0.01)
    assert not decision.supported and (decision.images, decision.images_needed) == (10, 99)


@pytest.mark.parametrize(
    ("score", "value"),
    [(0.0, 1.0), (1.0, 1.0), (1.5, 0.9), (9.0, 0.2), (9.5, 0.1), (5.0, 0.6), (math.inf, 0.1)],
)
def test_p_value_by_hand(score, value):
    assert p_value(NINE, score) == pytest.approx(value, abs=1e-12)


def test_p_value_counts_ties_as_at_least_as_large():
    assert p_value([1.0, 2.0, 2.0, 3.0], 2.0) == pytest.approx(4 / 5)


def test_p_values_of_exchangeable_scores_are_never_too_small(rng):
    trials, count = 20_000, 39
    scores = np.sort(rng.normal(size=(trials, count)), axis=1)
    new = rng.normal(size=trials)
    values = np.array([p_value(row, one) for row, one in zip(scores, new, strict=True)])
    for level in (0.025, 0.1, 0.25, 0.5):
        spread = math.sqrt(level * (1 - level) / trials)
        assert (values <= level + 1e-12).mean() <= level + 4 * spread


def test_p_value_and_threshold_agree(rng):
    """Rejected at a rate that the images support means a p-value of at most that rate."""
    scores = sorted(rng.normal(size=39).tolist())
    for score in [*scores, *rng.normal(size=200)]:
        for rate in (0.025, 0.05, 0.1, 0.5):
            assert (score > conformal_threshold(scores, rate)) == (
                p_value(scores, score) <= rate + 1e-12
            )


def test_standardise_keeps_the_order_and_survives_equal_scores(rng):
    scores = rng.normal(5, 2, 50).tolist()
    values = [standardise(scores, score) for score in np.linspace(-10, 20, 40)]
    assert values == sorted(set(values))
    assert standardise(scores, float(np.mean(scores))) == pytest.approx(0.0, abs=1e-12)
    assert standardise([2.0, 2.0], 3.0) == 1.0


def test_decision_takes_score_and_map_from_their_own_values():
    calibration = Calibration(
        scheme="cross", folds=4, scores=NINE, map_peaks=[10 * score for score in NINE]
    )
    decision = decide(calibration, 0.2, minimum_area=7)
    assert (decision.threshold, decision.map_threshold, decision.minimum_area) == (8.0, 80.0, 7)
    assert decision.supported and decision.images_needed == 4
    assert decide(calibration.model_copy(update={"map_peaks": []}), 0.2).map_threshold is None


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5])
def test_rates_that_mean_nothing_are_refused(rate):
    with pytest.raises(ValidationError):
        Decision(false_reject_rate=rate, threshold=1, map_threshold=None, images=1, images_needed=1)


def test_threshold_is_the_order_statistic_where_it_is_not_the_largest_score():
    scores = [float(value) for value in range(1, 20)]
    assert decision_threshold(scores, 0.1) == conformal_threshold(scores, 0.1) == 18.0
    assert decision_threshold(scores, 0.5) == conformal_threshold(scores, 0.5) == 10.0


def test_where_the_largest_score_would_rule_the_tail_is_exponential():
    """Seven scores: the five highest lie 1, 1, 2, 3, 8 above the second, 3 on average."""
    scores = [0.0, 2.0, 3.0, 3.0, 4.0, 5.0, 10.0]
    expected = 2.0 + 3.0 * math.log((5 / 8) / 0.02)
    assert decision_threshold(scores, 0.02) == pytest.approx(expected)
    assert decision_threshold(scores, 0.1) == pytest.approx(2.0 + 3.0 * math.log(6.25))
    # Never below the second largest, which a rate a little higher would give.
    assert decision_threshold([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 5.0], 0.11) == 5.0


def test_threshold_never_falls_with_the_rate(rng):
    for count in (1, 2, 5, 15, 40):
        scores = sorted(rng.exponential(size=count).tolist())
        found = [decision_threshold(scores, rate) for rate in np.linspace(0.9, 0.001, 200)]
        assert found == sorted(found)


def test_exponential_scores_are_rejected_at_the_stated_rate(rng):
    """Twenty scores cannot promise 2 %; of exponential ones the tail keeps it on average."""
    rejected = []
    for _ in range(2000):
        scores = sorted(rng.exponential(size=20).tolist())
        rejected.append(math.exp(-decision_threshold(scores, 0.02)))
    assert 0.01 < np.mean(rejected) < 0.04


def test_an_outlier_is_what_an_exponential_upper_half_does_not_reach():
    """A ladder 0..1: median .5, quartile .75, mean .25 / ln 2; 40 scores reach 2.66."""
    ladder = np.linspace(0, 1, 39)
    reach = 0.5 + 0.25 / math.log(2) * math.log(20 / 0.05)
    for value, odd in ((reach - 0.2, False), (reach + 0.2, True)):
        assert find_outliers([*ladder, value]).tolist() == [False] * 39 + [odd]


def test_at_most_a_tenth_are_outliers_and_those_are_the_highest():
    scores = [*np.linspace(0, 1, 34), 50.0, 60.0, 70.0, 80.0, 90.0, 100.0]
    assert np.flatnonzero(find_outliers(scores)).tolist() == [36, 37, 38, 39]


@pytest.mark.parametrize("scores", [[0.0] * 20, [1.0] * 10 + [2.0], [0.0, 9.0], []])
def test_nothing_is_odd_among_equal_or_few_scores(scores):
    assert not find_outliers(scores).any()
    if scores:
        assert np.isfinite(robust_z(scores)).all()


def test_a_rate_that_no_tail_can_stand_for_is_refused():
    """Nineteen scores support 5 %, their tail a tenth of that."""
    require_rate(0.005, 19, None, "task pcb")
    with pytest.raises(OptionError, match=r"pcb: .* 0\.004 is beyond what 19 images .* 249 of"):
        require_rate(0.004, 19, None, "task pcb")
    with pytest.raises(OptionError, match="what 9 groups of good parts can say"):
        require_rate(0.005, 400, 9, "task pcb")


def test_robust_z_by_hand():
    assert robust_z([1.0, 2.0, 3.0, 4.0, 10.0]) == pytest.approx(
        np.array([-2.0, -1.0, 0.0, 1.0, 7.0]) / 1.4826
    )


def test_lower_quartile_lies_above_a_quarter_of_the_pixels():
    maps = np.stack([np.arange(16.0), np.arange(16.0)[::-1] * 2]).reshape(2, 4, 4)
    assert lower_quartile(maps).tolist() == [4.0, 8.0]
