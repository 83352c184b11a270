"""Odd ones among the good parts come first, and their like does not hide them."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from cad_edge_training.backbones import load_backbone
from cad_edge_training.check.outliers import FEWEST, rank_outliers
from tests.training.check_samples import surface


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("efficientnet-lite0", 96)


def spoiled(pixels: np.ndarray, place: int = 30) -> np.ndarray:
    """Put a bright blot on a copy."""
    blot = pixels.copy()
    blot[place : place + 18, place : place + 14] = (250, 240, 60)
    return blot


@pytest.fixture
def pictures(rng) -> np.ndarray:
    return np.stack([surface(rng, side=96) for _ in range(20)])


def test_the_odd_one_is_first(pictures, backbone):
    pictures[7] = spoiled(pictures[7])
    found = rank_outliers(pictures, backbone)
    assert found.ranking()[0] == 7
    assert found.score.shape == found.robust_z.shape == (20,)
    assert found.robust_z[7] > 5 and np.argmax(found.robust_z) == 7


def test_two_with_the_same_defect_do_not_vouch_for_each_other(pictures, backbone):
    pictures[3], pictures[11] = spoiled(pictures[3]), spoiled(pictures[11])
    assert set(rank_outliers(pictures, backbone).ranking()[:2]) == {3, 11}


def test_its_own_group_does_not_vouch_for_an_image(pictures, backbone):
    """Five windows of one bad photograph hold each other up; from outside nobody does."""
    for number in range(5):
        pictures[number] = spoiled(pictures[number], 10 + 9 * number)
    groups = [str(number // 5) for number in range(20)]
    assert set(rank_outliers(pictures, backbone, groups).ranking()[:5]) == set(range(5))


def test_the_same_images_give_the_same_figures(pictures, backbone):
    first, second = rank_outliers(pictures, backbone), rank_outliers(pictures, backbone)
    assert np.array_equal(first.score, second.score)


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_few_images_say_nothing(pictures, backbone, count):
    found = rank_outliers(pictures[:count], backbone)
    assert found.score.tolist() == found.robust_z.tolist() == [0.0] * count


def test_one_group_says_nothing(pictures, backbone):
    assert not rank_outliers(pictures, backbone, ["a"] * 20).score.any()


def test_a_group_of_nearly_all(pictures, backbone):
    groups = ["a"] * 19 + ["b"]
    assert np.isfinite(rank_outliers(pictures, backbone, groups).robust_z).all()


def test_equal_and_constant_images(pictures, backbone):
    for shown in (np.zeros_like(pictures), np.repeat(pictures[:1], 20, axis=0)):
        found = rank_outliers(shown, backbone)
        assert np.isfinite(found.score).all() and np.isfinite(found.robust_z).all()
