"""Words of an exported family: how soon the first one comes, and whether they are torch's."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cad_edge.data.image import Frame, decode_image
from cad_edge_benchmarks.instruments.interleaved_timing import (
    Latency,
    Ratio,
    latency_of,
    ratio_of,
    take_turns,
)
from cad_edge_runtime import Detector
from cad_edge_studies.cl_anomaly_comparison.evaluation_images import Shown
from cad_edge_studies.cl_anomaly_comparison.family import LearnedFamily

if TYPE_CHECKING:
    from cad_edge_training.methods.cl_anomaly.model import CLAnomaly

OPEN_QUESTION = "What kind of defect is it?"
MOST = 24  # tokens of an answer
FRAMES = 4  # of every task


@dataclass(frozen=True)
class FirstToken:
    """Time from the frame to the first token of an answer, beside that of a decision."""

    decision: Latency
    first_token: Latency
    ratio: Ratio


@dataclass(frozen=True)
class Words:
    """Answers compared with those of transformers' own loop."""

    answers: int
    others: int
    tokens: int
    """Of all answers."""


def first_token(detector: Detector, family: LearnedFamily, rounds: int) -> dict[str, FirstToken]:
    """Time decisions and first tokens in turns, the task given and recognised."""
    frames = _in_turn(family)

    def decide(frame: Frame, task: str | None) -> object:
        return detector.detect(frame, task=task)

    def speak(frame: Frame, task: str | None) -> object:
        return detector.explain(frame, max_tokens=1, task=task)

    turns = {
        (way, what): _endless(act, frames, way == "given")
        for way in ("given", "routed")
        for what, act in (("decision", decide), ("word", speak))
    }
    times = take_turns({f"{way} {what}": turn for (way, what), turn in turns.items()}, rounds)
    return {
        way: FirstToken(
            latency_of(times[f"{way} decision"]),
            latency_of(times[f"{way} word"]),
            ratio_of(times[f"{way} word"], times[f"{way} decision"]),
        )
        for way in ("given", "routed")
    }


def _endless(
    act: Callable[[Frame, str | None], object], frames: Sequence[tuple[str, Frame]], given: bool
) -> Callable[[], object]:
    """Act on one frame after another, again and again."""
    coming = itertools.cycle(frames)

    def turn() -> object:
        name, frame = next(coming)
        return act(frame, name if given else None)

    return turn


def _in_turn(family: LearnedFamily) -> list[tuple[str, Frame]]:
    """Test images of every task, products in turn."""
    frames = [
        [(name, decode_image(shown.paths[row])) for row in spread(len(shown.paths))]
        for name, shown in family.tests.items()
    ]
    return [pair for some in zip(*frames, strict=False) for pair in some]


def spread(count: int) -> list[int]:
    """Rows over the whole length of a list, so that good and defective images are among them."""
    return sorted({int(row) for row in np.linspace(0, count - 1, FRAMES)})


def compare_words(
    detector: Detector, family: LearnedFamily, models: Mapping[str, "CLAnomaly"]
) -> dict[str, Words]:
    """Ask the tasks' own question and an open one about some images of every task."""
    questions = {"own question": None, "open question": OPEN_QUESTION}
    return {
        name: _compared(detector, family, models, question) for name, question in questions.items()
    }


def _compared(
    detector: Detector,
    family: LearnedFamily,
    models: Mapping[str, "CLAnomaly"],
    question: str | None,
) -> Words:
    pairs = []
    for name, shown in family.tests.items():
        rows = spread(len(shown.paths))
        expected = torch_answers(models[name], shown, rows, question)
        for row, tokens in zip(rows, expected, strict=True):
            found = detector.explain(shown.paths[row], question, max_tokens=MOST, task=name)
            pairs.append((list(found.tokens), tokens))
    others = sum(found != expected for found, expected in pairs)
    return Words(len(pairs), others, sum(len(found) for found, _ in pairs))


def torch_answers(
    model: "CLAnomaly", shown: Shown, rows: Sequence[int], question: str | None
) -> list[list[int]]:
    """Tokens of transformers' greedy answers, each as far as its end."""
    from cad_edge_training.methods.cl_anomaly.explanation import greedy

    said = greedy(model, shown.tokens[list(rows)], MOST, question)
    return [until(tokens, model.base.stop_ids) for tokens in said.tokens.tolist()]


def until(tokens: Sequence[int], stops: Sequence[int]) -> list[int]:
    """Tokens before the first that ends an answer."""
    return list(itertools.takewhile(lambda token: token not in stops, tokens))
