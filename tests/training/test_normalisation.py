import numpy as np
import pytest
import torch

from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.normalisation import (
    anm,
    defect_share,
    pixel_ap,
    search_shifts,
    sigmoid_centres,
)


def random(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_anm_by_hand():
    values = torch.tensor([2.0, 3.0, 2.0 + float(np.log(3)) / 1.5, -1e4])
    expected = torch.tensor([0.5, 1 / (1 + np.exp(-1.5)), 0.75, 0.0], dtype=torch.float32)
    torch.testing.assert_close(anm(values, 2.0, 1.5), expected)


def test_pixel_ap_equals_scikit_learns_over_single_pixels():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(2)
    masks = generator.random((3, 16, 16)) < 0.2
    scores = generator.integers(0, 6, (3, 4, 4)).astype(np.float32)  # with ties
    share = defect_share(masks, torch.Size((4, 4))).numpy()
    pixels = scores.repeat(4, axis=1).repeat(4, axis=2)
    expected = metrics.average_precision_score(masks.ravel(), pixels.ravel())
    assert pixel_ap(scores, share) == pytest.approx(expected, abs=1e-6)
    assert pixel_ap(scores, np.zeros_like(share)) == 0.0


def test_one_part_keeps_its_median_unless_saturated():
    values = random((2, 4, 4))
    defect = (values > 0.8).float()
    assert search_shifts([values], [1.0], defect, 1.5) == [float(values.median())]
    # 14 above the median float32 has no more steps below one, so 14 and 16 become equal.
    far = torch.zeros(1, 4, 4)
    far[0, 0], far[0, 1, 0] = 14.0, 16.0
    worst = (far == 16).float()
    (shift,) = search_shifts([far], [1.0], worst, 1.5)
    assert pixel_ap(anm(far, shift, 1.5).numpy(), worst.numpy()) == pytest.approx(1.0)


def test_search_never_makes_the_fused_map_worse():
    visual, text = 10 + 5 * random((4, 6, 6), 1), random((4, 6, 6), 2)
    defect = ((visual > 14) | (text > 0.9)).float()
    weights = [0.5, 0.5]

    def quality(shifts):
        maps = zip((visual, text), shifts, weights, strict=True)
        return pixel_ap(sum(w * anm(m, b, 1.5) for m, b, w in maps).numpy(), defect.numpy())

    found = search_shifts([visual, text], weights, defect, 1.5)
    start = [float(visual.median()), float(text.median())]
    assert quality(found) > quality(start)
    assert found == search_shifts([visual, text], weights, defect, 1.5)


def test_scales_see_good_parts_and_synthetic_defects_only(rng):
    good = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    config = Config(blocks=(5,))
    seen = []

    def measure(images):
        seen.append(images)
        return random((len(images), 4, 4)), random((len(images), 4, 4), 1)

    scales = sigmoid_centres(good, measure, config, seed=4)
    assert len(seen) == 1
    assert np.array_equal(seen[0][:3], good)
    assert not np.array_equal(seen[0][3:], good)
    assert set(scales) == {"anm/patch", "anm/text"}
    assert all(centre.shape == () for centre in scales.values())
    alone = sigmoid_centres(good, lambda images: (measure(images)[0], None), config, seed=4)
    assert set(alone) == {"anm/patch"}
