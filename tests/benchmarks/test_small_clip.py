"""The small CLIP: its words, its loss, its ranking, and that CMPMB can read what is written."""

import json
import math

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from click.testing import CliRunner

from cad_edge_studies.embedded_language_model.scenes import scene_pair
from cad_edge_studies.small_clip.__main__ import main
from cad_edge_studies.small_clip.captions import build_tokenizer, caption, words
from cad_edge_studies.small_clip.model import SIDE, contrastive_loss, pixels_of
from cad_edge_studies.small_clip.ranking import rank
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cmpmb.text import sentence


def test_a_caption_is_cmpmbs_sentence_with_an_end():
    good, bad = scene_pair(3, 1)
    seen = sentence(f"{good.colour} {good.name}")
    assert caption(good) == f"{seen} no defect"
    kind, place, size, shade = bad.defect
    assert caption(bad) == f"{seen} a {size} {shade} {kind} in the {place}"


def test_the_tokenizer_knows_every_letter_and_has_short_captions():
    tokenizer = build_tokenizer()
    captions = [caption(scene) for scene in scene_pair(3, 2)]
    for text in [*words(), *captions, "juice bottle 7 ü"]:
        ids = tokenizer(text)["input_ids"]
        assert (
            ids[0] == tokenizer.bos_token_id and ids.index(tokenizer.eos_token_id) == len(ids) - 1
        )
        assert tokenizer.decode(ids[1:-1]) == text
    assert all(len(tokenizer(text)["input_ids"]) <= 2 + 2 * len(text.split()) for text in captions)
    assert len(tokenizer("a photo of a washer with")["input_ids"]) == 8


def test_equal_captions_are_equally_right():
    """By hand: with logits of 0 every text has a third, whatever is right."""
    assert contrastive_loss(torch.zeros(3, 3), ["a", "b", "a"]).item() == pytest.approx(math.log(3))
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    right = -math.log(math.exp(2) / (math.exp(2) + 1))
    assert contrastive_loss(logits, ["a", "b"]).item() == pytest.approx(right, rel=1e-5)
    wrong = -math.log(1 / (math.exp(2) + 1))
    both = contrastive_loss(logits, ["a", "a"]).item()
    assert both == pytest.approx((right + wrong) / 2, rel=1e-5)


def test_ranks_by_hand():
    scores = torch.tensor([[3.0, 1, 0, 0, 0, 0], [5.0, 4, 3, 2, 1, 0], [1.0, 0, 0, 0, 0, 2]])
    found = rank(scores, [0, 5, 0])
    assert (found.images, found.texts) == (3, 6)
    assert found.top_1 == pytest.approx(1 / 3) and found.top_5 == pytest.approx(2 / 3)
    assert found.chance_1 == pytest.approx(1 / 6) and found.chance_5 == pytest.approx(5 / 6)


def test_pixels_are_those_of_the_backbone(tmp_path):
    from PIL import Image

    from cad_edge_studies.small_clip.model import new_model

    tokenizer = build_tokenizer()
    new_model(tokenizer, 0).save_pretrained(tmp_path)
    backbone = load_backbone(f"clip:{tmp_path}")
    scene = scene_pair(3, 3)[0]
    small = Image.fromarray(scene.image).resize((SIDE, SIDE), Image.Resampling.BOX)
    frame = torch.tensor(list(small.tobytes()), dtype=torch.uint8).reshape(1, SIDE, SIDE, 3)
    torch.testing.assert_close(backbone.normalise(frame), pixels_of([scene]), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_what_is_written_can_be_read_as_a_backbone(tmp_path):
    options = ("--folder", tmp_path / "clip", "--steps", 2, "--out", tmp_path / "small-clip.json")
    done = CliRunner().invoke(main, [str(one) for one in options])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "small-clip.json").read_text())
    assert record["steps"] == 2
    assert set(record["held_out"]) == {"caption", "name", "good or defective"}
    backbone = load_backbone(f"clip:{tmp_path / 'clip'}", 160)
    assert backbone.embed_text("a photo of a washer with").shape == (8, 128)
