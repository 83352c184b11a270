"""Questions and answers, how they share a sequence, and what the loss sees of them."""

import math

import numpy as np
import pytest
import torch

from cad_edge_studies.embedded_language_model.packing import (
    IGNORED,
    TokenisedConversation,
    answer_loss,
    pack,
    write_conversation,
)
from cad_edge_studies.embedded_language_model.questions import (
    DECISION,
    TALK,
    QuestionAnswer,
    corpus,
    decision,
    describe,
    description,
    explanation,
    informative_words,
)
from cad_edge_studies.embedded_language_model.scenes import DefectDescription, DescribedScene
from cad_edge_training.backbones.llava.chat import ChatTexts, token_ids
from cad_edge_training.backbones.llava.small import VOCABULARY
from cad_edge_training.backbones.llava.small_tokenizer import build_tokenizer

EMPTY = np.zeros((1, 1, 3), np.uint8)
MASK = np.zeros((1, 1), bool)
GOOD = DescribedScene(EMPTY, "gear", "grey", None, MASK)
BAD = GOOD._replace(defect=DefectDescription("crack", "upper left", "small", "dark"))


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(corpus(), VOCABULARY)


def test_the_decision_is_the_truth(rng):
    asked = [decision(BAD, rng) for _ in range(40)]
    assert {turn.answer for turn in asked} == {"Yes"}
    assert {decision(GOOD, rng).answer for _ in range(20)} == {"No"}
    assert sum(turn.question == DECISION for turn in asked) > 15


def test_explanations_tell_what_is_there(rng):
    assert describe(BAD) == "There is a small dark crack in the upper left of the grey gear."
    assert describe(GOOD) == "There is no defect. The grey gear looks intact."
    told = {explanation(BAD, rng).answer for _ in range(80)}
    assert told == {
        describe(BAD),
        "It is a crack.",
        "It is in the upper left.",
        "It is small and dark.",
        "It is grey.",
        "The image shows a grey gear.",
    }
    told = {explanation(GOOD, rng).answer for _ in range(80)}
    assert told == {
        describe(GOOD),
        "There is no defect.",
        "It is grey.",
        "The image shows a grey gear.",
    }


def test_a_description_holds_the_words_that_tell(rng):
    assert description(BAD, rng).answer == describe(BAD)
    told = set(describe(BAD).rstrip(".").split()) & informative_words()
    assert told == {"small", "dark", "crack", "upper", "left", "grey", "gear"}


def test_equal_seeds_ask_equal_questions():
    talks = [
        [ask(BAD, rng) for rng in map(np.random.default_rng, range(seed, seed + 9)) for ask in TALK]
        for seed in (0, 0, 9)
    ]
    assert talks[0] == talks[1] != talks[2]


def test_answers_are_short_in_tokens(tokenizer, rng):
    for scene in (GOOD, BAD):
        for _ in range(30):
            answer = explanation(scene, rng).answer
            words = len(answer.replace(".", " .").split())
            assert len(token_ids(tokenizer, answer)) == words


def test_only_answers_and_their_ends_are_to_be_written(tokenizer):
    turns = [
        QuestionAnswer("Is there a defect?", "Yes"),
        QuestionAnswer("Where is it?", "It is in the centre."),
    ]
    written = write_conversation(tokenizer, ChatTexts(), turns)
    assert tokenizer.decode(list(written.ids), skip_special_tokens=False) == (
        "\nIs there a defect?<|im_end|><|im_start|>assistant\nYes<|im_end|>"
        "<|im_start|>user \nWhere is it?<|im_end|><|im_start|>assistant\n"
        "It is in the centre.<|im_end|>"
    )
    pairs = zip(written.ids, written.is_answer, strict=True)
    answers = [index for index, is_answer in pairs if is_answer]
    expected = "Yes<|im_end|>It is in the centre.<|im_end|>"
    assert tokenizer.decode(answers, skip_special_tokens=False) == expected


def test_packing_by_hand():
    """One prompt token, two image rows; conversations (10 11 | 12) and (20 | 21 22)."""
    first = TokenisedConversation((10, 11, 12), (False, False, True))
    second = TokenisedConversation((20, 21, 22), (False, True, True))
    packed = pack((5,), 2, [[first, second], [second]])
    assert packed.ids.tolist() == [
        [5, 0, 0, 10, 11, 12, 20, 21, 22],
        [5, 0, 0, 20, 21, 22, 0, 0, 0],
    ]
    none = IGNORED
    assert packed.labels.tolist() == [
        [none, none, none, none, 12, none, 21, 22, none],
        [none, none, none, 21, 22, none, none, none, none],
    ]
    assert packed.positions[0].tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 5]
    assert packed.image == slice(1, 3)
    seen = packed.mask[0, 0].int().tolist()
    assert seen[2] == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert seen[5] == [1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert seen[7] == [1, 1, 1, 0, 0, 0, 1, 1, 0]


def test_loss_by_hand():
    """Two images; three tokens of answers, of which one counts threefold."""
    logits = torch.zeros(2, 3, 4, requires_grad=True)
    labels = torch.tensor([[IGNORED, 2, 1], [IGNORED, IGNORED, 0]])
    loss = answer_loss(logits, labels, torch.tensor([1.0, 1.0, 3.0, 1.0]))
    assert loss.item() == pytest.approx((3 + 1 + 1) * math.log(4) / 2)
    loss.backward()
    touched = logits.grad.abs().sum(dim=2) > 0
    assert torch.equal(touched, labels != IGNORED)
