"""Bad input to `cad-edge train --method cl_anomaly`: one sentence, and nothing is written."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.house.refusals import content, sentence

pytest.importorskip("torch")
pytest.importorskip("transformers")

from cad_edge_training.backbones.llava import load_llava
from cad_edge_training.methods.cl_anomaly.adapters import save_adapter
from cad_edge_training.methods.cl_anomaly.experts import new_private
from cad_edge_training.methods.cl_anomaly.sites import sites_of
from tests.training.small_products import write_product
from tests.training.tiny_llava import save_tiny_llava


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return save_tiny_llava(tmp_path_factory.mktemp("base") / "tiny-llava")


@pytest.fixture
def place(base, tmp_path) -> Path:
    """A base model, a product with labelled defects and a stream of it."""
    shutil.copytree(base, tmp_path / "tiny-llava")
    write_product(tmp_path, "checks", good=6, test=3)
    write_stream(tmp_path, {"path": "checks", "labelled": {"test_share": 0.2}})
    return tmp_path


def write_stream(place: Path, task: dict[str, object]) -> None:
    stream = {"name": "line", "false_reject_rate": 0.2, "tasks": [{"name": "checks"} | task]}
    (place / "stream.json").write_text(json.dumps(stream))


def train(place: Path, *settings: str) -> str:
    """Sentence with which learning is refused; what is on the disk must not change."""
    before = content(place)
    chosen = [word for setting in settings for word in ("--set", setting)]
    source = f"llava:{place / 'tiny-llava'}"
    given = ("--method", "cl_anomaly", "--backbone", source, "--stream", place / "stream.json")
    said = sentence("train", *given, "--out", place / "out", *chosen)
    assert content(place) == before
    return said


def test_tokenizer_that_has_no_word_for_yes(place):
    file = place / "tiny-llava/tokenizer.json"
    record = json.loads(file.read_text())
    merges = record["model"]["merges"]
    record["model"]["merges"] = [pair for pair in merges if "Yes" not in "".join(pair)]
    assert len(record["model"]["merges"]) < len(merges)
    file.write_text(json.dumps(record))
    said = train(place)
    assert "the tokenizer writes 'Yes' as 2 tokens, but a decision is read from one" in said


def test_base_without_its_tokenizer(place):
    (place / "tiny-llava/tokenizer.json").unlink()
    said = train(place)
    assert "tiny-llava cannot be loaded (it has no tokenizer.json)" in said and "http" not in said


def test_base_with_a_missing_shard(place):
    from transformers import LlavaOnevisionForConditionalGeneration as Model

    whole = place / "tiny-llava"
    model = Model.from_pretrained(whole)
    (whole / "model.safetensors").unlink()
    model.save_pretrained(whole, max_shard_size="60KB")
    shard = max(whole.glob("model-*.safetensors"))
    shard.unlink()
    said = train(place)
    assert "tiny-llava cannot be loaded (No such file or directory" in said and shard.name in said


def test_base_that_was_cut_off(place):
    file = place / "tiny-llava/model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "file not fully covered); give a hub id" in train(place)


@pytest.mark.parametrize(
    ("base_id", "rank", "words"),
    [
        ("llava:somebody/else-7b", 3, "was made for the base model somebody/else-7b, not for"),
        ("llava:tiny-llava", 4, "has rank 4, not 3; set rank to it"),
    ],
)
def test_adapter_of_another_base_or_rank(place, base_id, rank, words):
    sites = sites_of(load_llava(str(place / "tiny-llava")).language)
    experts = new_private(sites, rank, np.random.default_rng(0))
    save_adapter(place / "adapter", experts, base_id, 2.0)
    assert words in train(place, f"adapter={place / 'adapter'}")


@pytest.mark.parametrize("answer", ["Maybe", "", "Yes, a scratch"])
def test_answers_that_are_neither_yes_nor_no(place, answer):
    images = sorted((place / "checks/train/good").iterdir())
    entries = [
        {
            "image": str(path.relative_to(place / "checks")),
            "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": said}],
        }
        for path, said in zip(images, ["No", "No", "Yes", "No", answer, "Yes"], strict=True)
    ]
    (place / "checks/train.json").write_text(json.dumps(entries))
    write_stream(place, {"path": "checks", "layout": "instruction", "labelled": {}})
    said = train(place)
    assert f"train.json entry 4 is answered with {answer!r}; the first answer is Yes or No" in said


def test_question_that_is_longer_than_the_model_reads(place):
    said = train(place, f"question={'Is there a defect in the image? ' * 120}")
    assert "tokens long, and llava:tiny-llava reads at most 512" in said


def test_product_without_labelled_defects(place):
    write_stream(place, {"path": "checks"})
    assert "checks has no labelled training images with a defect" in train(place)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epoch=2", "--set epoch: cl_anomaly has no such option; it has adapter, balanced,"),
        ("epochs", "--set epochs: write it as NAME=VALUE"),
        ("epochs=two", "--set epochs: Input should be a valid integer"),
        ("routing=softly", "--set routing: Input should be 'soft', 'hard' or 'selector'"),
    ],
)
def test_options_that_are_none(place, setting, words):
    assert words in train(place, setting)
