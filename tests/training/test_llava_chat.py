"""Template, answers and the small tokenizer."""

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from cad_edge_studies.embedded_language_model.questions import DECISION, corpus
from cad_edge_training.backbones.llava.chat import (
    ChatTexts,
    DecisionTokens,
    build_prompt,
    find_answers,
    find_stops,
    token_ids,
)
from cad_edge_training.backbones.llava.small import VOCABULARY
from cad_edge_training.backbones.llava.small_tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(corpus(), VOCABULARY)


def test_prompt_is_the_template_of_llava_onevision(tokenizer):
    texts = ChatTexts()
    prompt = build_prompt(tokenizer, texts, DECISION)
    written = (
        "<|im_start|>user <image>\nAre there any defects for the object in the image? Please "
        "reply with only one word 'Yes' or 'No'.<|im_end|><|im_start|>assistant\n"
    )
    image = tokenizer.token_to_id("<image>")
    assert (*prompt.before, image, *prompt.after) == token_ids(tokenizer, written)


def test_later_turns_follow_the_template():
    texts = ChatTexts()
    talk = texts.before_image + "<image>" + texts.after_image + "Is it good?"
    talk += texts.after_question + "No" + texts.next_turn + "Why?" + texts.after_question
    assert talk == (
        "<|im_start|>user <image>\nIs it good?<|im_end|><|im_start|>assistant\nNo"
        "<|im_end|><|im_start|>user \nWhy?<|im_end|><|im_start|>assistant\n"
    )


def test_answers_are_all_single_tokens_once():
    words = ["[UNK]", "Yes", "yes", "No", " No"]
    vocabulary = {word: index for index, word in enumerate(words)}
    known = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    # " Yes" and " yes" are unknown here, which is one token too, but that of " no" as well.
    known.add_tokens([" Yes", " yes", "no", " no"])
    answers = find_answers(known)
    assert answers.yes == (1, 2, 5, 6) and answers.no == (3, 4, 7, 8)


def test_variants_that_are_one_token_count_once():
    vocabulary = {"Yes": 0, "No": 1}
    blind = Tokenizer(models.WordLevel(vocabulary, unk_token="No"))
    blind.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert find_answers(blind).yes[0] == 0 and find_answers(blind).no == (1,)


def test_small_tokenizer_writes_yes_and_no_as_words(tokenizer):
    assert len(token_ids(tokenizer, "Yes")) == len(token_ids(tokenizer, "No")) == 1
    answers = find_answers(tokenizer)
    assert isinstance(answers, DecisionTokens) and not set(answers.yes) & set(answers.no)


@pytest.mark.parametrize(
    "text",
    [
        DECISION,
        "  two  spaces\n\nand lines\t",
        "Größe 10 µm, 漢字, \U0001f600",
        "",
        "Yes<|im_end|>",
    ],
)
def test_small_tokenizer_encodes_any_text(tokenizer, text):
    ids = list(token_ids(tokenizer, text))
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_words_of_the_corpus_are_single_tokens(tokenizer):
    assert len(token_ids(tokenizer, DECISION)) == 24
    assert len(token_ids(tokenizer, "There is a small dark scratch in the upper left.")) == 11


def test_equal_texts_give_an_equal_tokenizer(tokenizer):
    assert build_tokenizer(corpus(), VOCABULARY).to_str() == tokenizer.to_str()
    assert tokenizer.get_vocab_size() <= VOCABULARY


def test_a_rare_yes_is_still_a_word():
    scarce = build_tokenizer(["abc abd " * 9], 4 + 256 + 8)
    assert len(token_ids(scarce, "Yes")) == len(token_ids(scarce, "No")) == 1


def test_stops_end_an_answer(tokenizer):
    ends = [tokenizer.token_to_id(token) for token in ("<|im_end|>", "<|endoftext|>")]
    assert list(find_stops(tokenizer)) == ends
    lone = Tokenizer(models.BPE())
    lone.add_special_tokens([AddedToken(t) for t in ("<|im_start|>", "<|im_end|>", "<image>")])
    assert find_stops(lone) == (1,)
