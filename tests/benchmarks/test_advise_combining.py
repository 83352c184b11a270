"""Combinations of values that were good alone, by hand."""

from cad_edge_benchmarks.advise.pareto_front import MOST, Candidate, combine

DEFAULT = Candidate({}, 0.90, 20.0)
SMALL = Candidate({"resolution": "160px"}, 0.88, 10.0)
LARGE = Candidate({"resolution": "320px"}, 0.93, 40.0)
EIGHT = Candidate({"precision": "uint8"}, 0.895, 15.0)
WORSE = Candidate({"bank": "bank/2"}, 0.87, 19.0)


def test_values_of_two_axes_are_combined_and_dominated_ones_are_not():
    """160px, uint8: 0.875 at 7.5 ms; 320px, uint8: 0.925 at 30 ms; both on the expected front."""
    found = combine(DEFAULT, [SMALL, LARGE, EIGHT, WORSE], None)
    assert found == [
        {"resolution": "160px", "precision": "uint8"},
        {"resolution": "320px", "precision": "uint8"},
    ]


def test_a_budget_keeps_what_should_fit_it():
    assert combine(DEFAULT, [SMALL, LARGE, EIGHT], 8.0) == [
        {"resolution": "160px", "precision": "uint8"}
    ]


def test_a_budget_that_nothing_should_fit_changes_nothing():
    assert len(combine(DEFAULT, [SMALL, LARGE, EIGHT], 1.0)) == 2


def test_what_is_expected_to_be_dominated_is_not_tried():
    """Fewer layers at the large size: 0.86 at 22 ms, worse than the default."""
    fewer = Candidate({"layers": "one"}, 0.83, 11.0)
    assert {"resolution": "320px", "layers": "one"} not in combine(DEFAULT, [LARGE, fewer], None)


def test_there_is_nothing_to_combine_within_one_axis():
    assert combine(DEFAULT, [SMALL, LARGE], None) == []
    assert combine(DEFAULT, [], None) == []


def test_of_many_some_are_taken_from_the_fastest_to_the_slowest():
    alone = [Candidate({"a": f"a{n}"}, 0.90 - n / 100, 20.0 - n) for n in range(1, 6)]
    alone += [Candidate({"b": f"b{n}"}, 0.90 + n / 100, 20.0 + n) for n in range(1, 6)]
    found = combine(DEFAULT, alone, None)
    assert len(found) == MOST
    assert all(set(one) == {"a", "b"} for one in found)
