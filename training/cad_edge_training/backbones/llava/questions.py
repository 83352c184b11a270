"""Seeded questions about a scene, with answers: the decision, and what explains it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from cad_edge_training.backbones.llava.flaws import FLAWS
from cad_edge_training.backbones.llava.parts import PARTS
from cad_edge_training.backbones.llava.scenes import PLACES, Flaw, Scene
from cad_edge_training.backbones.llava.surfaces import SURFACES

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
HUES = ("red", "orange", "brown", "yellow", "green", "blue", "purple")
COLOURS = ("black", "dark grey", "grey", "light grey", *HUES)
SIZES = ("small", "medium", "large")
SHADES = ("dark", "bright", "faint")


class Turn(NamedTuple):
    """A question and its answer."""

    question: str
    answer: str


def decision(scene: Scene, rng: np.random.Generator) -> Turn:
    """Ask for the decision; the wording that inspection uses is the most frequent."""
    usual = rng.random() < DECISION_SHARE
    question = DECISION if usual else str(rng.choice(DECISIONS))
    return Turn(question, "No" if scene.flaw is None else "Yes")


def explanation(scene: Scene, rng: np.random.Generator) -> Turn:
    """Ask about the defect, or about the part."""
    ask = ABOUT[int(rng.integers(len(ABOUT)))]
    return ask(scene, rng)


def conversation(scene: Scene, rng: np.random.Generator) -> tuple[Turn, Turn]:
    """Ask for the decision, then for its reason."""
    return decision(scene, rng), explanation(scene, rng)


def description(scene: Scene, rng: np.random.Generator) -> Turn:
    """Ask for all that can be said about the defect."""
    return Turn(str(rng.choice(EXPLAIN)), describe(scene))


def _kind(scene: Scene, rng: np.random.Generator) -> Turn:
    flaw = scene.flaw
    return Turn(str(rng.choice(KIND)), NONE if flaw is None else f"It is {_a(flaw.kind)}.")


def _place(scene: Scene, rng: np.random.Generator) -> Turn:
    flaw = scene.flaw
    return Turn(str(rng.choice(PLACE)), NONE if flaw is None else f"It is in the {flaw.place}.")


def _look(scene: Scene, rng: np.random.Generator) -> Turn:
    flaw = scene.flaw
    answer = NONE if flaw is None else f"It is {flaw.size} and {flaw.shade}."
    return Turn(str(rng.choice(LOOK)), answer)


def _surface(scene: Scene, rng: np.random.Generator) -> Turn:
    what = _a(f"{scene.colour} {scene.name}")
    return Turn(str(rng.choice(SURFACE)), f"The image shows {what}.")


def _colour(scene: Scene, rng: np.random.Generator) -> Turn:
    return Turn(str(rng.choice(COLOUR)), f"It is {scene.colour}.")


ABOUT: tuple[Callable[[Scene, np.random.Generator], Turn], ...] = (
    description,
    description,
    _kind,
    _place,
    _place,
    _look,
    _surface,
    _colour,
)


def describe(scene: Scene) -> str:
    """Say in a sentence what is wrong with the part, or that nothing is."""
    if scene.flaw is None:
        return _intact(scene.name, scene.colour)
    return _flawed(scene.name, scene.colour, scene.flaw)


def _intact(name: str, colour: str) -> str:
    return f"{NONE} The {colour} {name} looks intact."


def _flawed(name: str, colour: str, flaw: Flaw) -> str:
    sight = _a(f"{flaw.size} {flaw.shade} {flaw.kind}")
    return f"There is {sight} in the {flaw.place} of the {colour} {name}."


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def telling_words() -> set[str]:
    """Words of an answer that depend on the image, and are not there to make a sentence of it."""
    places = " ".join(place for row in PLACES for place in row)
    names = " ".join((*SURFACES, *PARTS, *FLAWS, *COLOURS, *SIZES, *SHADES))
    return set(f"{places} {names}".split()) - {"of"}


def corpus() -> Iterator[str]:
    """Every wording that can occur, for the tokenizer; colours and sizes with a few examples."""
    yield from ("user", "assistant") * 2
    for question in (*DECISIONS, *EXPLAIN, *KIND, *PLACE, *LOOK, *SURFACE, *COLOUR):
        yield from (question, question)  # twice, so that each of its words is frequent enough
    names = (*SURFACES, *PARTS, "circuit board")
    places = [place for row in PLACES for place in row]
    for index in range(4 * max(len(names), len(FLAWS) * len(places))):
        name, colour = names[index % len(names)], COLOURS[index % len(COLOURS)]
        kind = list(FLAWS)[index % len(FLAWS)]
        flaw = Flaw(kind, places[index % len(places)], SIZES[index % 3], SHADES[index // 3 % 3])
        yield _intact(name, colour)
        yield _flawed(name, colour, flaw)
        yield f"The image shows {_a(f'{colour} {name}')}."
        yield from (f"It is {_a(kind)}.", f"It is in the {flaw.place}.", f"It is {colour}.")
        yield f"It is {flaw.size} and {flaw.shade}."
