"""Answers of other shapes and types than an engine promises: refused, never taken for one."""

from dataclasses import replace

import numpy as np
import pytest

from cad_edge.errors import GraphError
from cad_edge_runtime import Detector
from cad_edge_runtime.answers import answers_of
from cad_edge_runtime.session import GraphSession
from tests.runtime.onnx_bytes import field, free_port, model, numbers, operation

pytestmark = pytest.mark.torchless
F32 = np.float32


def engine(*operations: bytes, outputs: dict[str, tuple[object, int]]) -> bytes:
    """(image uint8) -> ``outputs``, each with its shape and type, from "x" float32."""
    ports = field(11, free_port("image", ("batch", 32, 32, 3), 2))
    for name, (shape, kind) in outputs.items():
        ports += field(12, free_port(name, shape, kind))
    return model(operation("Cast", ["image"], ["x"], to=1) + b"".join(operations) + ports)


def peak(name: str, *axes: int, keepdims: int = 0) -> bytes:
    return numbers(f"{name}_axes", axes) + operation(
        "ReduceMax", ["x", f"{name}_axes"], [name], keepdims=keepdims
    )


SCORE = peak("score", 1, 2, 3)
SCORED = {"score": (("batch",), 1)}
WRONG = {
    "score of two axes": (peak("score", 1, 2, 3, keepdims=1), {"score": ("b", 1, 1, 1)}, 1),
    "score of the batch": (peak("score", 0, 1, 2, 3), {"score": ()}, 1),
    "score by column": (peak("score", 1, 2), {"score": ("batch", 3)}, 1),
    "score as a whole number": (
        peak("s", 1, 2, 3) + operation("Cast", ["s"], ["score"], to=7),
        {"score": ("batch",)},
        7,
    ),
    "score as half": (
        peak("s", 1, 2, 3) + operation("Cast", ["s"], ["score"], to=10),
        {"score": ("batch",)},
        10,
    ),
    "map of two axes": (SCORE + peak("anomaly_map", 2, 3), {"anomaly_map": ("batch", 32)}, 1),
    "map of four axes": (
        SCORE + operation("Relu", ["x"], ["anomaly_map"]),
        {"anomaly_map": ("batch", 32, 32, 3)},
        1,
    ),
    "map of the batch": (SCORE + peak("anomaly_map", 0), {"anomaly_map": (32, 32, 3)}, 1),
    "map without a cell": (
        SCORE
        + numbers("none", [0])
        + numbers("axis", [1])
        + operation("Slice", ["x", "none", "none", "axis"], ["nothing"])
        + numbers("three", [3])
        + operation("ReduceSum", ["nothing", "three"], ["anomaly_map"], keepdims=0),
        {"anomaly_map": ("batch", 0, 32)},
        1,
    ),
    "probability of two axes": (
        SCORE + peak("probability", 1, 2),
        {"probability": ("batch", 3)},
        1,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_graph_that_gives_something_else_is_not_opened(bundle, workshop, created, name):
    operations, shapes, kind = WRONG[name]
    declared = {**SCORED, **{output: (shape, kind) for output, shape in shapes.items()}}
    workshop.change_graph("blue", engine(operations, outputs=declared))
    with pytest.raises(GraphError, match=rf"gives '{next(iter(shapes))}' as .* is wanted; export"):
        Detector.open(bundle, watch=False)
    assert not created


def test_an_output_of_text_or_of_several_values(bundle, workshop):
    for kind in (8, 16, 0):
        data = engine(SCORE, outputs={"score": (("batch",), kind)})
        workshop.change_graph("blue", data)
        with pytest.raises(GraphError, match="declares the output 'score' as other than float32"):
            Detector.open(bundle, watch=False)


@pytest.fixture
def opened(bundle):
    with Detector.open(bundle, threads=1, watch=False) as detector:
        yield detector._snapshot.tasks["red"]


def values(opened, **arrays):
    return {opened.chain.results[name]: array for name, array in arrays.items()}


MAP = np.ones((2, 16, 16), F32)


@pytest.mark.parametrize(
    ("score", "anomaly_map"),
    [
        (np.ones((2, 1), F32), MAP),
        (np.ones(3, F32), MAP),
        (np.ones((), F32), MAP),
        (np.ones(2, np.float64), MAP),
        (np.array(["a", "b"], object), MAP),
        (np.ones(2, F32), MAP[:1]),
        (np.ones(2, F32), MAP[0]),
        (np.ones(2, F32), MAP[:, :0]),
        (np.ones(2, F32), MAP[None]),
        (np.ones(2, F32), MAP.astype(np.float16)),
    ],
)
def test_what_comes_while_frames_are_inspected(opened, score, anomaly_map):
    given = values(opened, score=score, anomaly_map=anomaly_map)
    with pytest.raises(
        GraphError, match=r"the engine of task 'red' gives '.*' as .*, not float32 of"
    ):
        answers_of(opened, given, 2)


def test_what_is_right_is_given_as_it_is(opened):
    score = np.array([0.5, np.nan], F32)
    found = answers_of(opened, values(opened, score=score, anomaly_map=MAP), 2)
    assert found[0] is score and np.array_equal(found[1], MAP)
    assert found[2] == found[3] == [None, None]


@pytest.mark.parametrize(("said", "given"), [(0.0, 0.0), (1.0, 1.0), (0.25, 0.25), (np.nan, None)])
def test_probabilities(opened, said, given):
    results = {**opened.chain.results, "probability": "p"}
    opened.chain.results = results
    found = {**values(opened, score=np.ones(2, F32), anomaly_map=MAP), "p": np.full(2, said, F32)}
    assert answers_of(opened, found, 2)[2] == [given, given]
    for wrong in (-0.01, 1.01, np.inf):
        with pytest.raises(GraphError, match="'red' gives the probability"):
            answers_of(opened, {**found, "p": np.full(2, wrong, F32)}, 2)
    with pytest.raises(GraphError, match="gives 'probability' as float32 of shape"):
        answers_of(opened, {**found, "p": np.ones((2, 1), F32)}, 2)


def test_a_selector_that_answers_for_other_frames(bundle, frames, monkeypatch):
    inner = GraphSession.run

    def fewer(self, outputs, feed):
        found = inner(self, outputs, feed)
        return [one[:1] if name == "distance" else one for name, one in zip(outputs, found)]  # noqa: B905

    with Detector.open(bundle, threads=1, watch=False) as detector:
        monkeypatch.setattr(GraphSession, "run", fewer)
        with pytest.raises(GraphError, match="gives distances as float32 of shape"):
            detector.detect_batch(list(frames["red.good"]))


def test_an_entry_that_answers_for_other_frames(bundle, frames, monkeypatch):
    """Its values are cut by product after the selection."""
    inner = GraphSession.run

    def fewer(self, outputs, feed):
        found = inner(self, outputs, feed)
        return [one[:1] if name == "features" else one for name, one in zip(outputs, found)]  # noqa: B905

    with Detector.open(bundle, threads=1, watch=False) as detector:
        monkeypatch.setattr(GraphSession, "run", fewer)
        with pytest.raises(GraphError, match="other numbers of values than there are frames"):
            detector.detect_batch([frames["red.good"][0], frames["green.good"][0]])


def test_a_decoder_without_logits_is_refused(red, image, monkeypatch):
    pytest.importorskip("tokenizers")
    inner = GraphSession.run

    def changed(self, outputs, feed):
        found = inner(self, outputs, feed)
        return [one[:, :0] if name == "logits" else one for name, one in zip(outputs, found)]  # noqa: B905

    talk = red.conversation(image)
    monkeypatch.setattr(GraphSession, "run", changed)
    with pytest.raises(GraphError, match=r"gives logits of shape \(1, 0\)"):
        talk.ask("Is there a defect?")


def test_replacing_keeps_the_check(opened):
    """A stand-in without depth is held to the same."""
    other = replace(opened, name="green")
    with pytest.raises(GraphError, match="'green'"):
        answers_of(other, values(opened, score=np.ones(1, F32), anomaly_map=MAP), 2)
