"""When what answers in words is opened, how often, and what happens to it with a new version."""

import shutil
import threading
from pathlib import Path

import pytest

from cad_edge.store.bundle import Bundle
from cad_edge_runtime import Detector
from cad_edge_runtime.session import SessionFactory
from tests.runtime.golden_words import (
    TEXTS,
    WORDS,
    give_words,
    needs_tokenizers,
)

pytestmark = [pytest.mark.torchless, needs_tokenizers]


def test_detect_opens_nothing_of_it(red, image, created):
    assert red.detect(image).verdict == "anomalous"
    assert created == [] and red._snapshot.explainers._opened == {}
    red.explain(image, max_tokens=2)
    entry = red.manifest.tasks["red"].explainer
    assert created == [entry.engine.stages[1].graph, entry.decoder.graph]
    red.explain(image, max_tokens=2)
    assert len(created) == 2


def test_the_trunk_runs_once_and_the_decoder_once_per_token(red, image, runs):
    talk = red.conversation(image)
    looked = list(runs)
    entry = red.manifest.tasks["red"].explainer
    selector = [stage.graph for stage in red.manifest.selector.engine.stages]
    assert looked == [*selector, entry.engine.stages[1].graph]
    talk.ask(max_tokens=6)
    talk.ask(max_tokens=3)
    assert runs[len(looked) :] == [entry.decoder.graph] * 9


def test_threads_answer_as_one(bundle, workshop, frames):
    give_words(workshop, "red")
    give_words(workshop, "green")
    asked = [("red", 0), ("green", 0), ("red", 1), ("green", 1)] * 2
    with Detector.open(bundle, threads=1, watch=False) as detector:
        alone = [detector.explain(frames[f"{n}.bad"][k], max_tokens=15) for n, k in asked]
    found: dict[int, object] = {}
    with Detector.open(bundle, threads=1, watch=False) as detector:
        start = threading.Barrier(len(asked))

        def ask(place: int, name: str, number: int) -> None:
            start.wait()
            found[place] = detector.explain(frames[f"{name}.bad"][number], max_tokens=15)

        workers = [
            threading.Thread(target=ask, args=(place, *one)) for place, one in enumerate(asked)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        opened = detector._snapshot.explainers._opened
        red, green = opened["red"], opened["green"]
        assert red.decoder.step.session is green.decoder.step.session
        assert red.vocabulary is green.vocabulary and red.embedding is green.embedding
    assert [found[place].tokens for place in range(len(asked))] == [one.tokens for one in alone]
    assert [found[place].task for place in range(len(asked))] == [name for name, _ in asked]


def test_opening_holds_up_neither_detection_nor_a_new_version(red, image, workshop, monkeypatch):
    reached, go_on = threading.Event(), threading.Event()
    inner = SessionFactory.create

    def waiting(self, graph, inputs, outputs):
        reached.set()
        assert go_on.wait(30)
        return inner(self, graph, inputs, outputs)

    monkeypatch.setattr(SessionFactory, "create", waiting)
    found: list[object] = []
    worker = threading.Thread(target=lambda: found.append(red.explain(image, max_tokens=3)))
    worker.start()
    try:
        assert reached.wait(30)
        assert red.detect(image).version == 2
        workshop.change_task("blue", lambda entry: entry.model_copy(update={"radius": 1.0}))
        assert red.refresh()
        assert red.detect(image).version == 3
    finally:
        go_on.set()
        worker.join()
    assert found[0].version == 2
    assert red.explain(image, max_tokens=3).tokens == found[0].tokens


def test_a_conversation_keeps_its_version(bundle, workshop, image, dialogue):
    give_words(workshop, "red")
    with Detector.open(bundle, threads=1, watch=False) as detector:
        talk = detector.conversation(image)
        first = talk.ask(max_tokens=5)
        texts = TEXTS.model_copy(update={"question": "Say more."})
        give_words(workshop, "red", lambda found: found.model_copy(update={"texts": texts}))
        assert detector.refresh()
        newer = detector.explain(image, max_tokens=5)
        assert (newer.version, newer.question) == (3, "Say more.")
        Bundle(bundle).rollback(1)
        assert detector.refresh() and detector.manifest.tasks["red"].explainer is None
        detector.close()
        second = talk.ask(max_tokens=5)
    assert (first.version, second.version, second.question) == (2, 2, TEXTS.question)
    assert list(first.tokens) == dialogue.answer(TEXTS.question, 5)
    assert list(second.tokens) == dialogue.answer(TEXTS.question, 5)


def test_a_new_version_takes_over_what_is_open(bundle, workshop, image, amber, created):
    give_words(workshop, "red")
    with Detector.open(bundle, threads=1, watch=False) as detector:
        before = detector.explain(image, max_tokens=5)
        opened = detector._snapshot.explainers._opened["red"]
        workshop.learn("amber", amber)
        count = len(created)
        assert detector.refresh()
        after = detector.explain(image, max_tokens=5)
        again = detector._snapshot.explainers._opened["red"]
        assert len(created) == count and after.tokens == before.tokens
        assert again.vocabulary is opened.vocabulary and again.embedding is opened.embedding
        Bundle(bundle).rollback(1)
        detector.refresh()
        held = detector._snapshot.explainers.held
        assert opened.decoder.step.session.graph not in held.sessions


def test_a_fused_task_answers_as_well(bundle, workshop, frames, dialogue):
    """The chain of an explainer needs nothing of the engine beside it."""
    made = give_words(workshop, "red")
    workshop.change_task("blue", lambda entry: entry.model_copy(update={"explainer": made}))
    with Detector.open(bundle, threads=1, watch=False) as detector:
        found = detector.explain(frames["red.bad"][0], max_tokens=8, task="blue")
    assert (found.task, list(found.tokens)) == ("blue", dialogue.answer(TEXTS.question, 8))


def test_the_golden_graphs_are_what_their_script_writes(tmp_path):
    pytest.importorskip("onnx")
    script = Path(shutil.copy(WORDS / "make_words.py", tmp_path))
    scope = {"__name__": "make_words", "__file__": str(script)}
    exec(compile(script.read_text(), script, "exec"), scope)
    scope["main"]()
    for name in ("eyes.onnx", "decoder.onnx", "weights.safetensors"):
        assert (tmp_path / name).read_bytes() == (WORDS / name).read_bytes(), name
