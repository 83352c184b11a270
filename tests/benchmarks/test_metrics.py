"""Image and pixel metrics against scikit-learn, brute force and values worked by hand."""

import itertools
import tracemalloc

import numpy as np
import pytest

from cad_edge_benchmarks.instruments.metrics import image_ap, image_auroc, mean_defined, rank
from cad_edge_benchmarks.instruments.pixels import PixelScores, region_weights


def drawn(seed, count, levels):
    """Labels and scores with ties; ``levels`` distinct scores at most."""
    generator = np.random.default_rng(seed)
    labels = generator.random(count) < 0.3
    labels[:2] = True, False
    scores = generator.integers(0, levels, count) / levels + 0.3 * labels
    return labels, np.round(scores * levels) / levels


@pytest.mark.parametrize(("seed", "count", "levels"), [(0, 2, 5), (1, 60, 4), (2, 500, 10_000)])
def test_image_metrics_are_those_of_scikit_learn(seed, count, levels):
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels, scores = drawn(seed, count, levels)
    assert image_auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert image_ap(labels, scores) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )


def test_auroc_counts_pairs():
    labels = np.array([True, True, False, False, False])
    scores = np.array([3.0, 1.0, 2.0, 1.0, 0.0])
    # 3 beats all three; 1 loses to 2, ties with 1, beats 0
    assert image_auroc(labels, scores) == pytest.approx((3 + 0 + 0.5 + 1) / 6)


def test_an_inverted_ranking_stays_below_a_half():
    labels = np.array([True, True, False, False])
    assert image_auroc(labels, np.array([0.0, 1.0, 2.0, 3.0])) == 0.0


@pytest.mark.parametrize("label", [True, False])
def test_one_class_is_undefined(label):
    labels = np.full(4, label)
    assert image_auroc(labels, np.arange(4.0)) is None
    assert image_ap(labels, np.arange(4.0)) is None


def test_infinite_scores_are_the_highest_and_tie():
    labels = np.array([True, False, True, False])
    scores = np.array([np.inf, np.inf, 5.0, 1.0])
    # inf ties inf (.5) and beats 1; 5 loses to inf and beats 1
    assert image_auroc(labels, scores) == pytest.approx(2.5 / 4)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        image_auroc(np.array([True, False]), np.array([np.nan, 1.0]))


def test_mean_leaves_out_the_undefined():
    assert mean_defined([0.5, None, 1.0]) == 0.75
    assert mean_defined([None]) is None


def brute_aupro(maps, masks, limit=0.3):
    """AUPRO from every threshold there is, region by region, in plain loops."""
    from scipy.ndimage import label

    normal = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
    regions = []
    for one, mask in zip(maps, masks, strict=True):
        numbered, count = label(mask, structure=np.ones((3, 3)))
        regions += [one[numbered == n] for n in range(1, count + 1)]
    thresholds = [np.inf, *np.unique(np.concatenate([normal, *regions]))[::-1]]
    x = np.array([(normal >= t).mean() for t in thresholds])
    y = np.array([np.mean([(r >= t).mean() for r in regions]) for t in thresholds])
    fine = np.unique(np.concatenate([x[x <= limit], [limit]]))
    area = 0.0
    for left, right in itertools.pairwise(fine):
        low = y[x == left].max()
        after = np.flatnonzero(x >= right)[0]
        before = after - 1
        span = x[after] - x[before]
        high = y[before] + (y[after] - y[before]) * (right - x[before]) / span
        area += (right - left) * (low + high) / 2
    return area / limit


@pytest.mark.parametrize("levels", [3, 20, 100_000])
def test_pixel_metrics_are_those_of_scikit_learn_and_brute_force(levels):
    from sklearn.metrics import average_precision_score, roc_auc_score

    generator = np.random.default_rng(levels)
    masks = generator.random((4, 17, 13)) < 0.06
    masks[3] = False
    maps = generator.integers(0, levels, masks.shape) / levels + 0.4 * masks
    maps = (np.round(maps * levels) / levels).astype(np.float32)
    pixels = PixelScores()
    for one, mask in zip(maps, masks, strict=True):
        pixels.add(one, mask if mask.any() else None)
    measured = pixels.measure()
    assert measured.auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9)
    assert measured.ap == pytest.approx(
        average_precision_score(masks.ravel(), maps.ravel()), abs=1e-9
    )
    assert measured.aupro == pytest.approx(brute_aupro(maps, masks), abs=1e-6)


def test_aupro_by_hand():
    """Ten normal pixels, two regions of one and two pixels."""
    mask = np.zeros((1, 13), bool)
    mask[0, [0, 11, 12]] = True
    scores = np.array([[9, 8, 7, 1, 1, 1, 1, 1, 1, 1, 1, 7.5, 0]], np.float32)
    pixels = PixelScores()
    pixels.add(scores, mask)
    # overlap 1/2 from rate 0, 3/4 from rate .1 (7.5 after the normal 8); level up to .3
    assert pixels.measure().aupro == pytest.approx((0.1 * 0.5 + 0.2 * 0.75) / 0.3)


def test_aupro_interpolates_a_constant_map():
    """All pixels tie: the curve is the diagonal, its mean up to 0.3 is 0.15."""
    mask = np.zeros((8, 8), bool)
    mask[:2] = True
    pixels = PixelScores()
    pixels.add(np.full((8, 8), np.inf, np.float32), mask)
    measured = pixels.measure()
    assert measured.aupro == pytest.approx(0.15)
    assert measured.auroc == pytest.approx(0.5)


def test_regions_touch_at_corners():
    mask = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], bool)
    assert region_weights(mask).tolist() == [0.5, 0.5, 1.0]


def test_pixels_of_one_class_are_undefined():
    pixels = PixelScores()
    pixels.add(np.zeros((4, 4), np.float32), None)
    assert pixels.measure().aupro is None


def test_map_and_mask_of_other_size_are_refused():
    with pytest.raises(ValueError, match="mask"):
        PixelScores().add(np.zeros((4, 4), np.float32), np.ones((4, 5), bool))


def test_a_hundred_and_fifty_maps_stay_below_a_gigabyte():
    generator = np.random.default_rng(0)
    row = generator.random(512, dtype=np.float32)
    mask = np.zeros((512, 512), bool)
    mask[100:200, 100:200] = True
    tracemalloc.start()
    pixels = PixelScores()
    for index in range(150):
        pixels.add(np.add.outer(row, row) + mask * 0.1, mask if index % 2 else None)
    measured = pixels.measure()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert measured.auroc is not None
    assert peak < 1e9


def test_rank_sums_weights_of_equal_scores():
    ranking = rank(np.array([1.0, 1.0, 2.0]), np.array([0.0, 1.0]), np.array([0.5, 0.25, 1.0]))
    assert ranking.gain.tolist() == [1.0, 0.75]
    assert ranking.false_above.tolist() == [0, 0]
    assert ranking.false_reached.tolist() == [0, 1]
