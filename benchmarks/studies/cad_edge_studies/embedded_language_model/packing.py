"""Several conversations about one image in one sequence, and the loss on their answers.

The rows of an image come once; each conversation about it sees them and itself, at the positions
it would have alone. That is the same computation as a sequence each, for a third of the work.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from cad_edge_studies.embedded_language_model.questions import QuestionAnswer
from cad_edge_training.backbones.llava.chat import END, ChatTexts, token_ids

IGNORED = -1  # label of a token that is no part of an answer
PREFIX, PADDING = 0, -1  # branch of what all conversations see, and of what none does


class TokenisedConversation(NamedTuple):
    """Token ids of the turns about an image, from the text after the image on."""

    ids: tuple[int, ...]
    is_answer: tuple[bool, ...]
    """Per token: the model has to write it."""


class Packed(NamedTuple):
    """A batch of images and the conversations about them."""

    ids: Tensor
    """(batch, length) int64; anything where an image row stands."""
    labels: Tensor
    """(batch, length) int64: the next token where it belongs to an answer, else `IGNORED`."""
    positions: Tensor
    """(batch, length) int64."""
    mask: Tensor
    """(batch, 1, length, length) bool: which key (last axis) a row may look at."""
    image: slice
    """Where the rows of the image stand."""


def write_conversation(
    tokenizer: Tokenizer, texts: ChatTexts, turns: Sequence[QuestionAnswer]
) -> TokenisedConversation:
    """Write turns in the chat template; an answer includes the token that ends it."""
    ids: list[int] = []
    is_answer: list[bool] = []
    opening = texts.after_image
    for turn in turns:
        asked = token_ids(tokenizer, opening + turn.question + texts.after_question)
        answered = token_ids(tokenizer, turn.answer + END)
        ids += [*asked, *answered]
        is_answer += [False] * len(asked) + [True] * len(answered)
        opening = texts.next_turn.removeprefix(END)
    return TokenisedConversation(tuple(ids), tuple(is_answer))


def pack(
    before: Sequence[int], image_rows: int, batch: Sequence[Sequence[TokenisedConversation]]
) -> Packed:
    """Lay out conversations about each image of a batch behind it.

    ``before`` are the token ids before an image, ``image_rows`` its rows, its newline included.
    """
    first = len(before) + image_rows
    length = first + max(sum(len(part.ids) for part in parts) for parts in batch)
    ids = np.zeros((len(batch), length), np.int64)
    labels = np.full((len(batch), length), IGNORED, np.int64)
    positions = np.zeros((len(batch), length), np.int64)
    branch = np.full((len(batch), length), PADDING, np.int64)
    ids[:, : len(before)] = before
    positions[:, :first] = np.arange(first)
    branch[:, :first] = PREFIX
    for row, parts in enumerate(batch):
        start = first
        for number, part in enumerate(parts, 1):
            stop = start + len(part.ids)
            ids[row, start:stop] = part.ids
            positions[row, start:stop] = np.arange(first, first + len(part.ids))
            branch[row, start:stop] = number
            answers = np.where(part.is_answer, part.ids, IGNORED)
            labels[row, start : stop - 1] = answers[1:]
            start = stop
    own = branch[:, :, None] == branch[:, None, :]
    shared = branch[:, None, :] == PREFIX
    visible = (own | shared) & np.tri(length, dtype=bool)  # and what comes earlier
    return Packed(
        torch.from_numpy(ids),
        torch.from_numpy(labels),
        torch.from_numpy(positions),
        torch.from_numpy(visible[:, None]),
        slice(len(before), first),
    )


def answer_loss(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the tokens of answers, summed, per image.

    ``logits`` (batch, length, vocabulary) float32 are compared with the ``labels`` of `pack`;
    ``weight`` (vocabulary,) float32 is how much a token counts where it is the right one.
    """
    total = functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        weight=weight,
        ignore_index=IGNORED,
        reduction="sum",
    )
    return total / len(labels)
