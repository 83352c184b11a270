"""Switches against brute force and values worked by hand."""

import numpy as np
import pytest

from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_benchmarks.instruments.verdicts import Outcome, verdict_f1
from cad_edge_benchmarks.protocol.compat import best_f1, flipped, read_compats


def test_flip_hides_collapse():
    assert flipped(0.2) == pytest.approx(0.8)
    assert flipped(0.7) == 0.7
    assert flipped(None) is None


def test_switches_are_read_once_and_in_order():
    assert [one.name for one in read_compats(["best_f1", "flip"])] == ["flip", "best_f1"]
    with pytest.raises(OptionError, match=r"--compat compat_epoch: no such switch; .* task_given"):
        read_compats(["compat_epoch"])


@pytest.mark.parametrize("levels", [4, 1000])
def test_best_f1_is_the_largest_over_all_thresholds(levels):
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(levels)
    labels = generator.random(40) < 0.4
    scores = generator.integers(0, levels, 40) / levels + 0.3 * labels
    brute = max(f1_score(labels, scores >= threshold) for threshold in np.unique(scores))
    assert best_f1(labels, scores) == pytest.approx(brute)


def test_best_f1_needs_both_classes():
    assert best_f1(np.array([True, True]), np.array([1.0, 2.0])) is None
    assert best_f1(np.array([False]), np.array([1.0])) is None


def test_f1_of_verdicts_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    labels = [True, True, True, False, False, False, False]
    verdicts = ["anomalous", "unknown_product", "normal", "anomalous", "normal", "normal", "normal"]
    outcomes = [
        Outcome(label, True, verdict, 0.0) for label, verdict in zip(labels, verdicts, strict=True)
    ]
    called = [verdict != "normal" for verdict in verdicts]
    assert verdict_f1(outcomes) == pytest.approx(f1_score(labels, called)) == pytest.approx(4 / 6)
    assert verdict_f1(outcomes[:3]) is None


def brute_rescaled(maps, masks, thresholds):
    """CDAD's loop over thresholds, region by region."""
    from scipy.ndimage import label

    low, high = min(m.min() for m in maps), max(m.max() for m in maps)
    x, y = [], []
    for step in np.arange(thresholds) * (high - low) / thresholds + low:
        overlaps = []
        for one, mask in zip(maps, masks, strict=True):
            numbered, count = label(mask, structure=np.ones((3, 3)))
            overlaps += [(one[numbered == n] > step).mean() for n in range(1, count + 1)]
        normal = np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)])
        x.append((normal > step).mean())
        y.append(np.mean(overlaps))
    x, y = np.array(x)[::-1], np.array(y)[::-1]
    x, y = x[x < 0.3] / x[x < 0.3].max(), y[x < 0.3]
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def test_rescaled_pro_is_that_of_the_released_loop():
    generator = np.random.default_rng(3)
    masks = np.zeros((3, 15, 15), bool)
    masks[0, 2:5, 2:5] = masks[0, 9:12, 8:14] = masks[1, 5:9, 5:9] = True
    maps = (generator.random(masks.shape) + 0.6 * masks).astype(np.float32)
    pixels = PixelScores()
    for one, mask in zip(maps, masks, strict=True):
        pixels.add(one, mask if mask.any() else None)
    rescaled = pixels.rescaled_pro(50)
    assert rescaled == pytest.approx(brute_rescaled(maps, masks, 50), abs=1e-6)
    exact = pixels.measure().aupro
    assert rescaled != pytest.approx(exact, abs=1e-3)


def test_rescaled_pro_by_hand():
    """Normal 0, 1, 2, 3 and one defect pixel 2.5; thresholds 0, 1, 2 of three steps."""
    pixels = PixelScores()
    mask = np.array([[False, False, False, False, True]])
    pixels.add(np.array([[0, 1, 2, 3, 2.5]], np.float32), mask)
    # rates 3/4, 2/4, 1/4: only 1/4 is below 0.3, and one point has no area
    assert pixels.rescaled_pro(3) is None
    # thresholds at 0, .3, ... 2.7: rate 1/4 from 2.0 on (2.1, 2.4, 2.7), never 0: no area either
    assert pixels.rescaled_pro(10) == 0.0


def test_rescaled_pro_without_defects_is_undefined():
    pixels = PixelScores()
    pixels.add(np.zeros((4, 4), np.float32), None)
    assert pixels.rescaled_pro() is None


def test_refused_frames_lie_above_every_threshold():
    mask = np.zeros((1, 8), bool)
    mask[0, :2] = True
    with_refused, without = PixelScores(), PixelScores()
    scores = np.array([[5, 4, 0, 1, 2, 3, 4.5, 3.5]], np.float32)
    without.add(scores, mask)
    with_refused.add(scores, mask)
    with_refused.add(np.full((1, 8), np.inf, np.float32), mask)
    assert with_refused.rescaled_pro() is None  # half of the normal pixels are always above
    assert without.rescaled_pro() is not None
