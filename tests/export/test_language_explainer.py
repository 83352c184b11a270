"""The graph that writes words says, token for token, what transformers' own loop says."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cad_edge.store.artifact import LearnedTask
from cad_edge_export.fusions.cl_anomaly.fusion import explained
from cad_edge_export.graph_files import open_graph
from cad_edge_export.language.explainer import ExplainerSource
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.config import Config
from cad_edge_training.methods.cl_anomaly.explanation import greedy
from cad_edge_training.methods.cl_anomaly.learn import build_model
from cad_edge_training.methods.cl_anomaly.model import CLAnomaly
from cad_edge_training.methods.cl_anomaly.questions import Question, read
from tests.export.expert_samples import frames, sharing_tasks

STEPS = 12

Step = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


@pytest.fixture(scope="module")
def base(siglip_base) -> LlavaBase:
    return siglip_base


@dataclass(frozen=True)
class Speech:
    """A task, its model, what it explains with, and that as a graph."""

    task: LearnedTask
    model: CLAnomaly
    made: ExplainerSource
    run: Step

    def prompt(self, image: np.ndarray) -> np.ndarray:
        """Rows (1, n, width) before the answer, the image's among them."""
        with torch.inference_mode():
            tokens = self.model.base.image_tokens(self.model.raw(torch.from_numpy(image)))
            return self.model.question.around(tokens).numpy()

    def bound(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs of the decoder but for those of the loop."""
        values = {f"tensor/{name}": value for name, value in self.made.engine.bound().items()}
        with torch.inference_mode():
            values["1/anchor"] = self.model.raw(torch.from_numpy(image)).mean(dim=1).numpy()
        inputs = self.made.decoder.inputs[3:]
        return {item.name: values[item.source] for item in inputs}

    def empty(self) -> np.ndarray:
        made = self.made
        return np.zeros((made.layers, 1, made.kv_heads, 0, made.head_width), np.float32)

    def read(self, rows: np.ndarray, keys, values, bound) -> list[np.ndarray]:
        feed = {"embeddings": rows, "past_keys": keys, "past_values": values}
        return self.run({**feed, **bound})

    def greedy(self, image: np.ndarray, count: int) -> list[int]:
        bound, table = self.bound(image), self.made.embedding["embedding"]
        rows, keys, values = self.prompt(image), self.empty(), self.empty()
        said: list[int] = []
        for _ in range(count):
            logits, keys, values = self.read(rows, keys, values, bound)
            said.append(int(logits[0].argmax()))
            rows = table[said[-1:]][None]
        return said


@pytest.fixture(scope="module", params=["soft", "selector"])
def speech(request, base, graph_of) -> Speech:
    config = Config(routing=request.param)
    task = sharing_tasks(base, config, 3)[1]
    made = explained(task, base, "fp32")
    session = open_graph(graph_of(made.decoder))
    model = build_model(base, config, task.model_tensors())
    return Speech(task, model, made, lambda feed: session.run(list(made.decoder.outputs), feed))


def test_words_are_those_of_transformers(speech, base):
    said = set()
    for image in frames(base, 1):
        rows = torch.from_numpy(speech.prompt(image[None]))
        with torch.inference_mode():
            speech.model.from_tokens(speech.model.raw(torch.from_numpy(image[None])))  # the gate
            expected = speech.model.base.model.generate(
                inputs_embeds=rows,
                attention_mask=torch.ones(rows.shape[:2], dtype=torch.int64),
                max_new_tokens=STEPS,
                min_new_tokens=STEPS,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
            )
        got = speech.greedy(image[None], STEPS)
        assert got == expected[0].tolist()
        said.update(got)
    assert len(said) > 3


@pytest.mark.parametrize("question", [None, "Where is it?"])
def test_words_of_the_reference_are_those_of_reading_all_anew(speech, base, question):
    """Without transformers' loop and without a cache."""
    model = speech.model
    with torch.inference_mode():
        raw = model.raw(torch.from_numpy(frames(base, 1)))
        said = greedy(model, raw, 4, question)
        model.choose(raw)
        asked = model.question if question is None else Question.of(base, question)
        rows = asked.around(base.image_tokens(raw))
        for step in range(4):
            logits = base.head(read(model.base, rows)[:, -1])
            torch.testing.assert_close(said.logits[:, step], logits, atol=1e-5, rtol=1e-5)
            assert said.tokens[:, step].tolist() == logits.argmax(dim=1).tolist()
            rows = torch.cat((rows, base.embed(said.tokens[:, step])[:, None]), dim=1)


def test_reading_in_pieces_is_reading_at_once(speech, base):
    image = frames(base, 1)[:1]
    rows, bound = speech.prompt(image), speech.bound(image)
    whole = speech.read(rows, speech.empty(), speech.empty(), bound)
    _, keys, values = speech.read(rows[:, :9], speech.empty(), speech.empty(), bound)
    _, keys, values = speech.read(rows[:, 9:10], keys, values, bound)
    pieces = speech.read(rows[:, 10:], keys, values, bound)
    for one, other in zip(whole, pieces, strict=True):
        assert one.shape == other.shape and one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_first_word_decides_as_the_score(speech, base):
    image = frames(base, 1)[1:2]
    logits, *_ = speech.read(
        speech.prompt(image), speech.empty(), speech.empty(), speech.bound(image)
    )
    yes, no = (
        torch.from_numpy(logits[0, list(ids)]).logsumexp(0)
        for ids in (base.answers.yes, base.answers.no)
    )
    with torch.inference_mode():
        expected, _ = speech.model(torch.from_numpy(image))
    assert abs(float(yes - no - expected)) < 1e-5


def test_what_a_loop_needs(speech, base):
    made = speech.made
    assert made.positions == 512 and made.embedding["embedding"].shape[1] == base.width
    assert made.texts.stop == list(base.stop_ids) and made.texts.question
    assert type(base.tokenizer).from_str(made.tokenizer.decode()).get_vocab_size() == len(
        made.embedding["embedding"]
    )
