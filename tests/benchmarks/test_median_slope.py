"""The slope of memory over tasks, by hand."""

from cad_edge_studies.accuracy.continual_run import median_slope


def test_a_line_has_its_slope():
    assert median_slope([10, 13, 16, 19]) == 3


def test_one_odd_process_does_not_move_it():
    # Pairs without the first value have slope 2; only the three with it differ.
    assert median_slope([90, 62, 64, 66, 68, 70]) == 2


def test_one_value_has_no_slope():
    assert median_slope([5]) is None
