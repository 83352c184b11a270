"""Seeded questions about a scene, with answers: the decision, and what explains it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cad_edge_studies.embedded_language_model.defects import DEFECTS
from cad_edge_studies.embedded_language_model.parts import PARTS
from cad_edge_studies.embedded_language_model.scenes import (
    PLACES,
    DefectDescription,
    DescribedScene,
)
from cad_edge_studies.embedded_language_model.surfaces import SURFACES

DECISION = (
    "Are there any defects for the object in the image? "
    "Please reply with only one word 'Yes' or 'No'."
)
DECISIONS = (
    DECISION,
    "Are there any defects in the image? Answer only 'Yes' or 'No'.",
    "Is there a defect?",
    "Is the part defective?",
    "Does this image show any damage? Please reply with only one word 'Yes' or 'No'.",
    "Is anything wrong with this product?",
)
DECISION_SHARE = 0.6  # of the decisions, how many are worded as inspection words them
DESCRIBE = "Describe the defect."
EXPLAIN = (
    "Why?",
    "Explain your answer.",
    DESCRIBE,
    "What is wrong with it?",
    "Are there any defects? Explain your answer.",
)
KIND = ("What kind of defect is it?", "What kind of defect is in the image?")
PLACE = ("Where is it?", "Where is the defect?", "In which part of the image is the defect?")
LOOK = ("How large is the defect?", "What does the defect look like?", "What size is it?")
SURFACE = (
    "What is in the image?",
    "What does the surface look like?",
    "Describe the image.",
    "What is this?",
)
COLOUR = ("What colour is it?", "What colour is the part?")
NONE = "There is no defect."
TOPICS = {
    EXPLAIN: (
        "There is {defect} in the {place} of the {colour} {name}.",
        f"{NONE} The {{colour}} {{name}} looks intact.",
    ),
    SURFACE: 2 * ("The image shows {part}.",),
    KIND: ("It is {kind}.", NONE),
    PLACE: ("It is in the {place}.", NONE),
    COLOUR: 2 * ("It is {colour}.",),
    LOOK: ("It is {size} and {shade}.", NONE),
}
"""Questions, with their answer about a part with a defect and about a good one."""
ASKED = (EXPLAIN, EXPLAIN, KIND, PLACE, PLACE, LOOK, SURFACE, COLOUR)
"""What may be asked; repeated ones are asked more often."""
HUES = ("red", "orange", "brown", "yellow", "green", "blue", "purple")
COLOURS = ("black", "dark grey", "grey", "light grey", *HUES)
SIZES = ("small", "medium", "large")
SHADES = ("dark", "bright", "faint")


class QuestionAnswer(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


def decision(scene: DescribedScene, rng: np.random.Generator) -> QuestionAnswer:
    """Ask for the decision; the wording that inspection uses is the most frequent."""
    usual = rng.random() < DECISION_SHARE
    question = DECISION if usual else str(rng.choice(DECISIONS))
    return QuestionAnswer(question, "No" if scene.defect is None else "Yes")


def description(scene: DescribedScene, rng: np.random.Generator) -> QuestionAnswer:
    """Ask for all that can be said about the defect."""
    return QuestionAnswer(str(rng.choice(EXPLAIN)), describe(scene))


def explanation(scene: DescribedScene, rng: np.random.Generator) -> QuestionAnswer:
    """Ask about the defect, or about the part."""
    topic = ASKED[int(rng.integers(len(ASKED)))]
    return QuestionAnswer(str(rng.choice(topic)), describe(scene, topic))


def describe(scene: DescribedScene, topic: tuple[str, ...] = EXPLAIN) -> str:
    """Answer the questions of a topic in a sentence or two."""
    about_defect, about_good = TOPICS[topic]
    said = {"name": scene.name, "colour": scene.colour, "part": _a(f"{scene.colour} {scene.name}")}
    if scene.defect is None:
        return about_good.format(**said)
    kind, place, size, shade = scene.defect
    said |= {"place": place, "size": size, "shade": shade, "kind": _a(kind)}
    return about_defect.format(**said, defect=_a(f"{size} {shade} {kind}"))


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


TALK = (decision, explanation)
"""Questions of a conversation: for the decision, then for its reason."""


def informative_words() -> set[str]:
    """Words of an answer that depend on the image, and are not there to make a sentence of it."""
    named = (*PLACES, *SURFACES, *PARTS, *DEFECTS, *COLOURS, *SIZES, *SHADES)
    return set(" ".join(named).split()) - {"of"}


def corpus() -> Iterator[str]:
    """Every wording that can occur, for the tokenizer; colours and sizes with a few examples."""
    yield from ("user", "assistant") * 2
    for question in (*DECISIONS, *EXPLAIN, *KIND, *PLACE, *LOOK, *SURFACE, *COLOUR):
        yield from (question, question)  # twice, so that each of its words is frequent enough
    names = (*SURFACES, *PARTS, "circuit board")
    image, mask = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.bool_)  # nobody looks at them
    for index in range(4 * max(len(names), len(DEFECTS) * len(PLACES))):
        kind = list(DEFECTS)[index % len(DEFECTS)]
        place, shade = PLACES[index % len(PLACES)], SHADES[index // 3 % 3]
        name, colour = names[index % len(names)], COLOURS[index % len(COLOURS)]
        good = DescribedScene(image, name, colour, None, mask)
        bad = good._replace(defect=DefectDescription(kind, place, SIZES[index % 3], shade))
        yield from (describe(good), *(describe(bad, topic) for topic in TOPICS))
