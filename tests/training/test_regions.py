import numpy as np
import pytest
import torch

from cad_edge.errors import OptionError
from cad_edge_training.methods.cmpmb.regions import load_regions, majority, paint
from cad_edge_training.methods.cmpmb.sam_masks import _distinct, _is_good


def test_majority_counts_and_invents_no_ids():
    ids = np.array([[1, 1, 7, 7], [1, 9, 7, 0], [4, 4, 2, 3], [4, 2, 3, 2]])
    assert majority(ids, (2, 2)).tolist() == [[1, 7], [4, 2]]  # of equals the lowest
    assert majority(ids, (1, 4)).tolist() == [[1, 1, 7, 0]]
    assert majority(ids, (4, 4)).tolist() == ids.tolist()
    assert majority(ids, (2, 2)).dtype == np.int64


def test_majority_on_a_grid_that_does_not_divide_equals_loops(rng):
    ids = rng.integers(0, 5, (11, 9))
    got = majority(ids, (4, 2))
    for row in range(4):
        for column in range(2):
            cell = [
                ids[y, x]
                for y in range(11)
                for x in range(9)
                if y * 4 // 11 == row and x * 2 // 9 == column
            ]
            assert got[row, column] == np.bincount(cell).argmax()
    with pytest.raises(ValueError, match="no majority"):
        majority(ids, (12, 2))


def test_the_largest_mask_is_painted_first():
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2, :2] = True
    masks[1, :3, :] = True
    masks[2, 0, 0] = True
    assert paint(masks, (4, 4)).tolist() == [
        [3, 2, 1, 1],
        [2, 2, 1, 1],
        [1, 1, 1, 1],
        [0, 0, 0, 0],
    ]
    assert not paint(np.zeros((0, 2, 2), bool), (2, 2)).any()


def test_superpixels_follow_an_edge():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    ids = load_regions("slic")(image, (8, 8))
    assert ids.shape == (8, 8)
    assert ids.dtype == np.int64
    assert not set(ids[:, :4].ravel()) & set(ids[:, 4:].ravel())
    assert load_regions("slic")(np.zeros((64, 64, 3), np.uint8), (8, 8)).shape == (8, 8)


@pytest.mark.parametrize("spec", ["sam", "sam:", "slics", "kmeans:3"])
def test_other_providers_are_refused(spec):
    with pytest.raises(OptionError, match="is unknown"):
        load_regions(spec)


def save_sam(folder):
    from transformers import SamConfig, SamModel

    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "output_channels": 8,
        "image_size": 64,
        "patch_size": 16,
        "mlp_dim": 16,
        "global_attn_indexes": [0],
        "window_size": 2,
        "num_pos_feats": 4,
    }
    prompt = {"hidden_size": 8, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 8, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 8}
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        SamModel(config).save_pretrained(folder)
    return folder


def test_sam_gives_regions(tmp_path, rng, monkeypatch):
    """Untrained masks are noise, so every one of them is let through."""
    from cad_edge_training.methods.cmpmb import sam_masks

    monkeypatch.setattr(sam_masks, "TRUST", -np.inf)
    monkeypatch.setattr(sam_masks, "STABILITY", 0.0)
    monkeypatch.setattr(sam_masks, "POINTS_PER_SIDE", 3)
    image = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    source = str(save_sam(tmp_path / "tiny-sam"))
    regions = load_regions(f"sam:{source}")
    ids = regions(image, (4, 6))
    assert ids.shape == (4, 6)
    assert ids.dtype == np.int64
    assert np.array_equal(ids, regions(image, (4, 6)))


def test_sam_keeps_trusted_stable_and_distinct_masks():
    logits = torch.full((4, 8, 8), -5.0)
    logits[0, :4, :4] = 5  # stable
    logits[1, :4, :4] = 5
    logits[1, 4, :] = 0.5  # shrinks under a stricter threshold
    logits[2, :4, :4] = 5  # not trusted; the last is empty
    trust = torch.tensor([0.9, 0.95, 0.5, 0.99])
    assert _is_good(logits, trust).tolist() == [True, False, False, False]

    masks = np.zeros((3, 8, 8), bool)
    masks[0, :4, :4] = masks[1, :4, :5] = masks[2, 4:, 4:] = True  # boxes 0 and 1 overlap by 0.8
    kept = _distinct(masks, np.array([0.9, 0.95, 0.92], np.float32))
    assert np.array_equal(kept, masks[[1, 2]])
