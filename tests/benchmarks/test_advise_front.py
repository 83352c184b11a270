"""The front, the setting to take and the nearest one, by hand."""

import pytest

from cad_edge_benchmarks.advise.pareto_front import ALIKE, Budgets, Point, front, nearest, take

FAST = Point("fast", 0.90, 5.0, 100.0)
MIDDLE = Point("middle", 0.94, 10.0, 120.0)
SLOW = Point("slow", 0.95, 30.0, 200.0)
POOR = Point("poor", 0.89, 12.0, 90.0)
ALL = [MIDDLE, FAST, SLOW, POOR]


def no_error(first, second):
    return 0.0


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.9, 5), (0.94, 10), (0.95, 30), (0.89, 12)], [True, True, True, False]),
        ([(0.9, 5), (0.9, 6)], [True, False]),
        ([(0.9, 5), (0.8, 5)], [True, False]),
        ([(0.9, 5), (0.9, 5), (0.8, 6)], [True, True, False]),
        ([(0.5, 1)], [True]),
        ([], []),
    ],
)
def test_front_holds_what_nothing_dominates(points, expected):
    assert front(points) == expected


def test_without_budgets_the_most_accurate_is_taken():
    assert take(ALL, Budgets(), no_error) == "slow"


def test_settings_within_the_error_count_as_equal_and_the_faster_wins():
    assert take(ALL, Budgets(), lambda a, b: 0.0 if a == b else 0.011) == "middle"
    assert take(ALL, Budgets(), lambda a, b: 0.0 if a == b else 0.05) == "fast"


def test_the_error_is_that_of_the_pair():
    """Slow is 0.01 better than middle and 0.05 better than fast; only the latter may be chance."""
    errors = {"middle": 0.005, "fast": 0.06, "slow": 0.0, "poor": 0.01}
    assert take(ALL, Budgets(), lambda best, other: errors[other]) == "fast"


def test_budgets_leave_out_what_exceeds_them():
    assert take(ALL, Budgets(milliseconds=20), no_error) == "middle"
    assert take(ALL, Budgets(milliseconds=20, megabytes=110), no_error) == "fast"
    assert take(ALL, Budgets(milliseconds=10), no_error) == "middle", "a limit itself is kept"
    assert take(ALL, Budgets(megabytes=95), no_error) == "poor"


def test_nothing_is_taken_where_nothing_fits_and_the_nearest_is_named():
    assert take(ALL, Budgets(milliseconds=4), no_error) is None
    assert nearest(ALL, Budgets(milliseconds=4)) == "fast"
    # fast: 5/4 and 100/50; poor: 12/4 and 90/50; the worse of each counts: 2 against 3
    assert nearest(ALL, Budgets(milliseconds=4, megabytes=50)) == "fast"
    assert Budgets(milliseconds=4, megabytes=50).excess(POOR) == 3


def test_of_about_equally_fast_ones_the_smaller_wins():
    near = Point("near", 0.95, 30.0 * (1 + ALIKE / 2), 150.0)
    assert take([SLOW, near], Budgets(), no_error) == "near"
    far = Point("far", 0.95, 30.0 * (1 + 2 * ALIKE), 150.0)
    assert take([SLOW, far], Budgets(), no_error) == "slow"
    thin = Point("thin", 0.95, 30.0, 200.3, task_bytes=10)
    thick = Point("thick", 0.95, 30.0, 199.8, task_bytes=20)
    assert take([thick, thin], Budgets(), no_error) == "thin", "below a megabyte is chance"


def test_memory_that_is_not_told_breaks_no_budget():
    assert take([Point("a", 0.9, 5.0, None)], Budgets(milliseconds=5), no_error) == "a"
