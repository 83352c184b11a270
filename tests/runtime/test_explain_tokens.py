"""Text to tokens and back, and the rows of the embedding."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from cad_edge.errors import BundleError, IntegrityError, OptionError
from cad_edge_runtime.tokens import Embedding, Vocabulary
from tests.runtime.golden_words import END, WORDS, needs_tokenizers, weights

pytestmark = [pytest.mark.torchless, needs_tokenizers]
TEXT = "größe 🙂 of the defect: 3 µm, 漢字"


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary((WORDS / "tokenizer.json").read_bytes(), "object a")


def test_text_that_grows_never_holds_half_a_character(vocabulary):
    tokens = vocabulary.encode(TEXT, special=False)
    grown = [vocabulary.decode(tokens[:count]) for count in range(len(tokens) + 1)]
    assert grown[0] == "" and grown[-1] == TEXT
    assert all(TEXT.startswith(text) for text in grown)
    assert len(set(grown)) == len(TEXT) - 1  # one more for "", two fewer for " th", a single token
    assert len(tokens) > len(TEXT)


def test_bytes_that_are_no_character_are_shown_once_something_follows(vocabulary):
    tokens = vocabulary.encode("ö", special=False)
    after = vocabulary.encode("x", special=False)
    assert vocabulary.decode(tokens[:1]) == ""
    assert vocabulary.decode([*tokens[:1], *after]) == "�x"


def test_special_tokens_are_recognised_in_texts_alone(vocabulary):
    assert vocabulary.encode("<|end|>", special=True) == [END]
    written = vocabulary.encode("<|end|>", special=False)
    assert len(written) == 7 and END not in written
    assert vocabulary.decode([*written, END]) == "<|end|>"


def test_nothing_is_added_or_cut(vocabulary):
    record = json.loads((WORDS / "tokenizer.json").read_text(encoding="utf-8"))
    record["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    end = {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
    record["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [END], "tokens": ["<|end|>"]}},
    }
    other = Vocabulary(json.dumps(record).encode(), "object b")
    assert other.encode(TEXT, special=False) == vocabulary.encode(TEXT, special=False)


def test_a_text_with_half_a_surrogate_is_refused(vocabulary):
    with pytest.raises(OptionError, match="no Unicode character"):
        vocabulary.encode("why \ud800", special=False)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"{}", b'{"version": "1.0"}'])
def test_a_broken_tokenizer(data):
    with pytest.raises(IntegrityError, match=r"tokenizer\.json of object c is broken") as problem:
        Vocabulary(data, "object c")
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_rows_of_the_embedding(tmp_path, dtype):
    table = weights()["embedding"].astype(dtype)
    save_file({"embedding": table}, tmp_path / "tensors.safetensors")
    embedding = Embedding(tmp_path / "tensors.safetensors")
    assert (embedding.vocabulary, embedding.width) == table.shape
    rows = embedding.rows([260, 0, 7, 7])
    assert rows.dtype == np.float32
    assert (rows == table[[260, 0, 7, 7]]).all()
    assert embedding.rows([]).shape == (0, 8)
    for token in (261, -1):
        with pytest.raises(BundleError, match=f"has 261 rows and none for token {token}"):
            embedding.rows([token])


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"table": np.zeros((3, 2), np.float32)}, "gives no tensor 'embedding'"),
        ({"embedding": np.zeros(6, np.float32)}, r"is F32 of shape \[6\]"),
        ({"embedding": np.zeros((3, 2), np.int32)}, "is I32"),
    ],
)
def test_a_table_that_is_none(tmp_path, tensors, words):
    save_file(tensors, tmp_path / "tensors.safetensors")
    with pytest.raises(BundleError, match=words) as problem:
        Embedding(tmp_path / "tensors.safetensors")
    assert "\n" not in str(problem.value)


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / "tensors.safetensors").write_bytes(b"\0" * 20)
    for path in (tmp_path / "tensors.safetensors", tmp_path / "absent"):
        with pytest.raises(BundleError, match="gives no tensor 'embedding'"):
            Embedding(path)
