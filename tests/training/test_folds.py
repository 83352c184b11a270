"""Held-out images: who is held out, and that the memory which judges them never saw them."""

import numpy as np
import pytest
import torch

from cad_edge.errors import DatasetError
from cad_edge_training.backbones import load_backbone
from cad_edge_training.folds import MINIMUM_IMAGES, SPLIT_IMAGES, draw_folds
from cad_edge_training.methods.cmpmb import features as published_features
from cad_edge_training.methods.cmpmb.config import Config as Published
from cad_edge_training.methods.patch_memory.config import Config, defaults_for
from cad_edge_training.methods.patch_memory.features import extract, fit
from cad_edge_training.methods.patch_memory.learn import build_model, learn
from cad_edge_training.patch_features import as_patches
from cad_edge_training.routing_keys import held_out_keys
from tests.training.small_products import LITE0, a_request, quiet, texture


@pytest.fixture(scope="module")
def backbone():
    return load_backbone(LITE0, 64)


@pytest.fixture(scope="module")
def images(backbone):
    rng = np.random.default_rng(5)
    return np.stack([backbone.recipe.apply(texture("waves", rng)) for _ in range(9)])


@pytest.mark.parametrize(("count", "number"), [(4, 4), (9, 5), (30, 5), (120, 5), (499, 5)])
def test_folds_hold_every_image_out_once(count, number):
    folds = draw_folds(count, 0.01, 3)
    assert (folds.scheme, folds.count) == ("cross", number)
    held = []
    for fitted, out in folds.splits():
        assert not set(fitted) & set(out)
        assert len(fitted) + len(out) == count and abs(len(out) - count / number) < 1
        held.extend(out)
    assert sorted(held) == list(range(count))
    assert folds.learned().tolist() == list(range(count))


@pytest.mark.parametrize(
    ("count", "rate", "scheme"),
    [
        (499, 0.01, "cross"),
        (500, 0.01, "split"),  # a fifth is 100: enough, and 99 are needed
        (500, 0.005, "cross"),  # 199 are needed
        (995, 0.005, "split"),
    ],
)
def test_one_split_only_where_a_fifth_supports_the_rate(count, rate, scheme):
    folds = draw_folds(count, rate, 0)
    assert folds.scheme == scheme
    if scheme == "split":
        ((fitted, held),) = folds.splits()
        assert len(held) == count // 5 >= SPLIT_IMAGES
        assert not set(fitted) & set(held)
        assert folds.learned().tolist() == fitted.tolist()


def test_a_method_may_ask_for_more_folds_but_not_for_more_than_there_are_images_or_groups():
    assert draw_folds(50, 0.1, 1, folds=20).count == 20
    assert draw_folds(50, 0.1, 1, folds=100).count == 50
    groups = [f"batch {number % 7}" for number in range(50)]
    by_group = draw_folds(50, 0.1, 1, groups, folds=100)
    assert by_group.count == 7
    for number in range(7):
        names = {groups[place] for place in np.flatnonzero(by_group.members == number)}
        assert len(names) == 1
    assert draw_folds(1000, 0.1, 1, folds=100).scheme == "split"


def test_folds_depend_on_the_seed_alone():
    assert np.array_equal(draw_folds(50, 0.1, 1).members, draw_folds(50, 0.1, 1).members)
    assert not np.array_equal(draw_folds(50, 0.1, 1).members, draw_folds(50, 0.1, 2).members)


@pytest.mark.parametrize("count", range(MINIMUM_IMAGES))
def test_too_few_images_are_refused(count):
    with pytest.raises(DatasetError, match=f"{count} images of good parts are too few"):
        draw_folds(count, 0.1, 0)


def test_memory_of_a_fold_holds_no_patch_of_a_held_out_image(backbone, images):
    """A k-centre bank without whitening is made of patches, so each can be traced."""
    config = Published(blocks=(4,), bank_size=40, prompts=False, text=False)
    features = published_features.extract(backbone, images, config, {}, quiet)
    patches = as_patches(features.patches)
    for fitted, held in draw_folds(len(images), 0.1, 0).splits():
        memory = published_features.fit_bank(features.of(torch.from_numpy(fitted)), config, 0)
        seen, unseen = patches[fitted].flatten(0, 1), patches[held].flatten(0, 1)
        assert nearest(memory, seen).max() < 1e-4
        assert nearest(memory, unseen).min() > 1e-2


def nearest(points: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(points, others, compute_mode=exact).amin(dim=1)


def test_calibration_is_what_the_model_of_each_fold_says_of_its_held_out_images(backbone, images):
    """Brute force: finish a model per fold, show it the images of that fold."""
    defaults = defaults_for(LITE0) | {
        "memories": ("7+10x16", "4x16"),
        "statistics_blocks": (),
        "keys": 8,
    }
    config = Config.model_validate(defaults)
    folds = draw_folds(len(images), 0.1, 0)
    request = a_request(images, backbone, folds)
    learned = learn(request, config)
    features = extract(backbone, images, config, quiet)
    scales = {name: value for name, value in learned.tensors.items() if name.startswith("scale/")}
    scores, peaks = [], []
    for fitted, held in folds.splits():
        part = fit(features.of(torch.from_numpy(fitted)), config, 0)
        tensors = scales | {name: value.numpy() for name, value in part.items()}
        with torch.inference_mode():
            score, anomaly_map = build_model(backbone, config, tensors)(
                torch.from_numpy(images[held])
            )
        scores += score.tolist()
        peaks += anomaly_map.amax(dim=(1, 2)).tolist()
    assert learned.calibration.scheme == "cross" and learned.calibration.folds == 5
    np.testing.assert_allclose(learned.calibration.scores, sorted(scores), atol=1e-3)
    np.testing.assert_allclose(learned.calibration.map_peaks, sorted(peaks), atol=1e-3)


def test_held_out_scores_are_higher_than_those_of_images_in_memory(backbone, images):
    config = Config(memories=("7x400",))
    folds = draw_folds(len(images), 0.1, 0)
    learned = learn(a_request(images, backbone, folds), config)
    with torch.inference_mode():
        seen, _ = build_model(backbone, config, learned.tensors)(torch.from_numpy(images))
    assert min(learned.calibration.scores) > seen.max()


def test_keys_of_a_fold_are_none_of_its_held_out_images():
    """Nine images of one constant patch each: keys without the fold are always elsewhere."""
    patches = torch.arange(9.0).reshape(9, 1, 1).expand(9, 4, 2)
    folds = draw_folds(9, 0.1, 0)
    keys, distances = held_out_keys(patches, folds, 9, 0)
    assert sorted(set(keys[:, 0].tolist())) == list(range(9))
    assert len(distances) == 9 and (distances >= np.float32(2**0.5) - 1e-5).all()
