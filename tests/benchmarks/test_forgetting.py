"""Forgetting: bit for bit with the task given, by the matrix where frames are routed."""

import numpy as np
import pytest

from cad_edge_studies.accuracy.forgetting import GivenAnswers, compare, describe_matrix


def answers(*scores, maps="a"):
    return GivenAnswers(np.array(scores), maps)


def test_equal_answers_are_not_forgotten():
    found = compare({"nut": answers(0.1, 0.2)}, {"nut": answers(0.1, 0.2)})
    assert found == {"tasks": 1, "images": 2, "changed_images": 0}


def test_one_bit_is_seen():
    after = answers(0.1, np.nextafter(0.2, 1))
    assert compare({"nut": answers(0.1, 0.2)}, {"nut": after})["changed_images"] == 1


def test_a_map_that_moved_counts_for_the_whole_task():
    assert answers(0.1, 0.2).differs(answers(0.1, 0.2, maps="b")) == 2


def test_the_matrix_of_two_stages():
    described = describe_matrix([[0.9], [0.8, 0.7]])
    assert described["a_auroc"] == pytest.approx(0.75)
    assert described["fm"] == pytest.approx(0.1)
    assert described["average"] == pytest.approx((0.85 + 0.7) / 2)
    assert described["backward_transfer"] == pytest.approx(-0.1)


def test_a_task_without_defective_images_is_left_out_of_the_matrix():
    described = describe_matrix([[None], [None, 0.7]])
    assert described["a_auroc"] == pytest.approx(0.7)
    assert described["fm"] is None
