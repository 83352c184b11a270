"""Continual metrics on matrices small enough to work by hand."""

import numpy as np
import pytest

from cad_edge_benchmarks.instruments.continual_metrics import (
    average_auroc,
    average_since_introduction,
    backward_transfer,
    forgetting_measure,
    last,
)

NAN = np.nan
THREE = np.array([[0.9, NAN, NAN], [0.8, 0.7, NAN], [0.6, 0.75, 0.5]])


def test_three_tasks_by_hand():
    assert average_auroc(THREE) == pytest.approx((0.6 + 0.75 + 0.5) / 3)
    assert forgetting_measure(THREE) == pytest.approx(((0.9 - 0.6) + (0.7 - 0.75)) / 2)
    assert last(THREE).tolist() == [0.6, 0.75, 0.5]
    assert average_since_introduction(THREE) == pytest.approx([2.3 / 3, 0.725, 0.5])
    transfer = backward_transfer(THREE)
    assert transfer[:2] == pytest.approx([((0.8 - 0.9) + (0.6 - 0.9)) / 2, 0.05])
    assert np.isnan(transfer[2])


def test_the_last_task_has_average_equal_last():
    assert average_since_introduction(THREE)[-1] == last(THREE)[-1]


def test_forgetting_may_be_negative():
    assert forgetting_measure(np.array([[0.5, NAN], [0.7, 0.9]])) == pytest.approx(-0.2)


def test_the_best_stage_counts_even_when_it_is_not_the_first():
    matrix = np.array([[0.5, NAN, NAN], [0.9, 0.6, NAN], [0.7, 0.6, 0.6]])
    assert forgetting_measure(matrix) == pytest.approx((0.2 + 0.0) / 2)


def test_nothing_is_forgotten_in_one_stage():
    assert forgetting_measure(np.array([[0.9, 0.8]])) is None


def test_an_item_without_the_metric_is_left_out():
    matrix = np.array([[0.9, NAN, NAN], [0.8, NAN, 0.7]])
    assert average_auroc(matrix) == pytest.approx(0.75)
    assert forgetting_measure(matrix) == pytest.approx(0.1)


def test_a_hole_in_a_column_is_refused():
    with pytest.raises(ValueError, match="item 0"):
        average_auroc(np.array([[0.9, NAN], [NAN, 0.5], [0.7, 0.5]]))


def test_a_list_is_not_a_matrix():
    with pytest.raises(ValueError, match="shape"):
        last(np.array([0.9, 0.8]))
