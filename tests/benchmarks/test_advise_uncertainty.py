"""Standard errors by drawing images again."""

import numpy as np
import pytest

from cad_edge_benchmarks.advise.accuracy import draw_weights, drawn_auroc, spread
from cad_edge_benchmarks.instruments.metrics import image_auroc

LABELS = np.array([False, False, False, True, True])
SCORES = np.array([0.1, 0.5, np.inf, 0.5, np.inf])
ORIGINS = list("abcde")


def test_every_draw_has_as_many_good_and_defective_images():
    weights = draw_weights(ORIGINS, LABELS, seed=3, draws=50)
    assert weights.shape == (50, 5)
    assert (weights[:, ~LABELS].sum(axis=1) == 3).all()
    assert (weights[:, LABELS].sum(axis=1) == 2).all()
    assert len(np.unique(weights, axis=0)) > 10


def test_equal_seeds_draw_alike():
    first, again = (draw_weights(ORIGINS, LABELS, seed=3) for _ in range(2))
    assert (first == again).all()
    assert (first != draw_weights(ORIGINS, LABELS, seed=4)).any()


def test_images_of_one_photograph_count_alike():
    labels = np.array([False, True, True, False, True, True])
    weights = draw_weights(list("aaabbb"), labels, seed=0, draws=20)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] + weights[:, 3] == 2).all()


def test_every_image_once_gives_the_auroc_itself():
    """Ties and refused frames included: (1 + 1/2 + 0 + 1 + 1 + 1/2) / 6."""
    once = np.ones((1, 5), dtype=np.int64)
    assert drawn_auroc(SCORES, LABELS, once)[0] == pytest.approx(4 / 6)
    assert image_auroc(LABELS, SCORES) == pytest.approx(4 / 6)


def test_an_image_that_counts_twice_is_there_twice():
    weights = np.array([[2, 0, 1, 0, 2]])
    doubled = np.array([0.1, 0.1, np.inf, np.inf, np.inf])
    assert drawn_auroc(SCORES, LABELS, weights)[0] == pytest.approx(image_auroc(LABELS, doubled))


def test_the_spread_is_near_the_one_of_hanley_and_mcneil():
    """For AUROC A with n and m images; their formula is for one exponential model of scores."""
    rng = np.random.default_rng(0)
    count = 60
    scores = np.concatenate([rng.exponential(1, count), rng.exponential(4, count)])
    labels = np.arange(2 * count) >= count
    auroc = image_auroc(labels, scores)
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (count - 1) * (q1 + q2 - 2 * auroc**2)
    weights = draw_weights([str(n) for n in range(2 * count)], labels, seed=1)
    found = spread(drawn_auroc(scores, labels, weights))
    assert found == pytest.approx(np.sqrt(variance) / count, rel=0.2)


def test_what_two_settings_share_cancels_in_their_difference():
    draws = np.array([0.8, 0.9, 1.0])
    assert spread(draws) == pytest.approx(0.1)
    assert spread((draws + 0.05) - draws) == pytest.approx(0.0)
