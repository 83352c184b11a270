"""What is written around an image and a question, and the words a decision is read from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cad_edge.errors import OptionError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IMAGE = "<image>"
TURN, END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
STOPS = (END, TEXT_END)
YES = ("Yes", "yes", " Yes", " yes")
NO = ("No", "no", " No", " no")


@dataclass(frozen=True)
class ChatTexts:
    """Texts of the template that LLaVA-OneVision was trained with, in the order they are used.

    A conversation is ``before_image``, image tokens, ``after_image``, question,
    ``after_question``, answer, and then for every further turn ``next_turn``, question,
    ``after_question``, answer. The answer is what the model writes before a stop token, which is
    not fed back; `next_turn` writes it anew, so that an answer cut short is ended too.
    """

    before_image: str = f"{TURN}user "
    after_image: str = "\n"
    after_question: str = f"{END}{TURN}assistant\n"
    next_turn: str = f"{END}{TURN}user \n"


@dataclass(frozen=True)
class Prompt:
    """Token ids before and after the rows of the image."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class DecisionTokens:
    """Ids of the tokens that mean Yes and No at the start of an answer."""

    yes: tuple[int, ...]
    no: tuple[int, ...]


def token_ids(tokenizer: "Tokenizer", text: str) -> tuple[int, ...]:
    """Token ids of a text, special tokens in it recognised and none added."""
    return tuple(tokenizer.encode(text, add_special_tokens=False).ids)


def find_answers(tokenizer: "Tokenizer") -> DecisionTokens:
    """Look up all ways to say Yes and No in one token.

    Raises
    ------
    OptionError
        "Yes" or "No" is several tokens.
    """
    return DecisionTokens(_single_tokens(tokenizer, YES), _single_tokens(tokenizer, NO))


def _single_tokens(tokenizer: "Tokenizer", variants: Sequence[str]) -> tuple[int, ...]:
    found = [token_ids(tokenizer, text) for text in variants]
    if len(found[0]) != 1:
        raise OptionError(
            f"the tokenizer writes {variants[0]!r} as {len(found[0])} tokens, but a decision is "
            "read from one; take a model whose tokenizer has it as a word"
        )
    return tuple(sorted({ids[0] for ids in found if len(ids) == 1}))


def find_stops(tokenizer: "Tokenizer") -> tuple[int, ...]:
    """Ids of the tokens that end an answer.

    Raises
    ------
    OptionError
        The tokenizer does not know the tokens of the template.
    """
    for token in (TURN, END, IMAGE):
        if tokenizer.token_to_id(token) is None:
            raise OptionError(
                f"the tokenizer has no token {token}, which the chat template of LLaVA-OneVision "
                "needs; take a model of that family"
            )
    ids = [tokenizer.token_to_id(token) for token in STOPS]
    return tuple(index for index in ids if index is not None)


def build_prompt(tokenizer: "Tokenizer", texts: ChatTexts, question: str) -> Prompt:
    """Token ids around the image of a question.

    Raises
    ------
    OptionError
        The question holds a token that structures the chat.
    """
    for token in tokenizer.get_added_tokens_decoder().values():
        if token.special and token.content in question:
            raise OptionError(
                f"the question holds {token.content}, which structures the chat; leave it out"
            )
    return Prompt(
        token_ids(tokenizer, texts.before_image),
        token_ids(tokenizer, texts.after_image + question + texts.after_question),
    )
