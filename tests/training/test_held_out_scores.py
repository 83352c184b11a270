"""Held-out scores become a calibration, and the odd ones among them have no say."""

import numpy as np
import pytest

from cad_edge.errors import ArtifactError
from cad_edge_training.held_out_scores import HeldOutImages, HeldOutScores, calibrate

SCORES = np.array([*np.linspace(0.0, 1.0, 30), 9.0])
NAMES = [f"train/good/{number:03d}.png" for number in range(31)]


def held_out() -> HeldOutScores:
    return HeldOutScores(SCORES, 2 * SCORES, SCORES - 1)


def test_an_odd_image_is_named_and_left_out_of_everything():
    found = calibrate(held_out(), HeldOutImages(None, names=NAMES), "cross", 5)
    assert [odd.image for odd in found.outliers] == [NAMES[30]]
    # A ladder of 29 steps and one score above: median 15/29, deviations in steps of 1/29.
    median, deviation = 15 / 29, 8 / 29
    assert found.outliers[0].robust_z == pytest.approx((9 - median) / (1.4826 * deviation))
    assert len(found.scores) == len(found.map_peaks) == len(found.map_quartiles) == 30
    assert (max(found.scores), max(found.map_peaks), max(found.map_quartiles)) == (1.0, 2.0, 0.0)


def test_it_is_named_and_kept_for_who_wants_that():
    found = calibrate(held_out(), HeldOutImages(None, keep_outliers=True, names=NAMES))
    assert len(found.outliers) == 1 and max(found.scores) == 9.0 and found.keep_outliers
    assert HeldOutImages.behind(found) == HeldOutImages(None, keep_outliers=True)


def test_of_images_without_names_there_is_the_figure():
    assert calibrate(held_out(), HeldOutImages(4)).outliers[0].image is None
    assert calibrate(held_out(), HeldOutImages(4)).groups == 4


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(value):
    """As of a training that has diverged; nothing can be written or decided with them."""
    broken = held_out()
    broken.scores[3] = value
    with pytest.raises(ArtifactError, match="scores that are NaN or infinite; learn with other"):
        calibrate(broken, HeldOutImages(None))
