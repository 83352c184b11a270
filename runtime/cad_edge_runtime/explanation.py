"""Explanations: what is said in words about one frame."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cad_edge.errors import OptionError
from cad_edge_runtime.arguments import brief

MOST_TOKENS = 256
"""Longest answer where nothing else is asked for."""

Finished = Literal["stop", "length", "closed"]


@dataclass(frozen=True)
class ExplanationTimings:
    """Seconds that an answer took."""

    image: float
    """Reading, recognising and looking at the frame, and opening the explainer where it was not; 0
    after the first answer."""

    prompt: float
    """Reading the question, up to the first token of the answer."""

    answer: float
    """The tokens after the first."""


@dataclass(frozen=True)
class Explanation:
    """An answer in words.

    Examples
    --------
    From a detector whose bundle answers in words::

        said = detector.explain("photo.png")
        print(said.question, said.text, said.finished)
    """

    task: str
    """The product, as recognised or as given."""

    question: str
    text: str
    tokens: tuple[int, ...]
    """The answer as the language model gave it, without the one that ended it."""

    finished: Finished
    """``stop`` where the model ended its answer, ``length`` where the tokens asked for or the room
    of the dialogue were used up, ``closed`` where a stream was not read to its end."""

    version: int
    """Version of the bundle that answered."""

    timings: ExplanationTimings


def require_length(max_tokens: int) -> None:
    """Raise OptionError unless an answer of ``max_tokens`` can be asked for."""
    if not isinstance(max_tokens, (int, np.integer)) or max_tokens < 1:
        raise OptionError(
            f"max_tokens={brief(max_tokens)} is not allowed; use a whole number of at least 1"
        )


def require_question(question: object) -> None:
    """Raise OptionError for what is no question."""
    if question is not None and not isinstance(question, str):
        raise OptionError(f"question={brief(question)} is no question; give a string")
