"""What the language model reads: the prompt around an image, and the answer while it learns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.methods.cl_anomaly.config import Config

PARAPHRASES = (
    "Is there a defect in this image? Please reply with only one word 'Yes' or 'No'.",
    "Does the object have any defects? Please reply with only one word 'Yes' or 'No'.",
    "Is anything wrong with what the image shows? Answer only 'Yes' or 'No'.",
)
PARAPHRASES_OF_VIEWS = (
    "Is there a defect in these images? Answer only 'Yes' or 'No'.",
    "Does the object have any defects? Answer only 'Yes' or 'No'.",
    "Is anything wrong with what the multiview images show? Answer only 'Yes' or 'No'.",
)
YES, NO, END = "Yes", "No", "<|im_end|>"


@dataclass(frozen=True)
class Question:
    """A question, embedded."""

    before: Tensor
    """(n_before, width) rows before the image."""
    after: Tensor
    """(n_after, width) rows after it."""

    @staticmethod
    def of(base: LlavaBase, text: str) -> "Question":
        """Put a question into the chat template of a base model."""
        prompt = base.prompt(text)
        device = base.image_newline.device
        ids = (torch.tensor(part, device=device) for part in (prompt.before, prompt.after))
        before, after = (base.embed(part) for part in ids)
        return Question(before, after)

    def around(self, image_tokens: Tensor) -> Tensor:
        """Rows (batch, n_rows, width) of the prompt with image tokens (batch, n, width) in it."""
        count = len(image_tokens)
        return torch.cat(
            (
                self.before.expand(count, -1, -1),
                image_tokens.to(self.before.dtype),
                self.after.expand(count, -1, -1),
            ),
            dim=1,
        )


@dataclass(frozen=True)
class TrainingQuestions:
    """What is asked and answered while learning."""

    questions: tuple[Question, ...]
    answers: Tensor
    """(2, n_answer) int64 token ids of No and of Yes, the end of the turn included."""

    @staticmethod
    def of(base: LlavaBase, config: Config, views: int) -> "TrainingQuestions":
        """Embed the question, and its paraphrases for so many images if they are wanted."""
        others = PARAPHRASES if views == 1 else PARAPHRASES_OF_VIEWS
        texts = (config.question, *(others if config.paraphrases else ()))
        answers = [
            base.tokenizer.encode(word + END, add_special_tokens=False) for word in (NO, YES)
        ]
        ids = torch.tensor([answer.ids for answer in answers], device=base.image_newline.device)
        return TrainingQuestions(tuple(Question.of(base, text) for text in texts), ids)

    def drawn(self, seeds: Sequence[int]) -> Question:
        """Draw one of the questions."""
        return self.questions[int(np.random.default_rng(seeds).integers(len(self.questions)))]

    def loss(
        self, base: LlavaBase, question: Question, image_tokens: Tensor, labels: Tensor
    ) -> Tensor:
        """Causal cross-entropy of the answer tokens, summed over the batch.

        Parameters
        ----------
        base
            The model with its experts, the gate set.
        question
            What is asked.
        image_tokens
            (batch, n, width) rows of the images, of several views one after another.
        labels
            (batch,) int64, 1 for a defect.

        Returns
        -------
        Tensor
            () float32, sum over images of the mean over the tokens of their answers.
        """
        answers = self.answers[labels]
        said = base.embed(answers[:, :-1])
        rows = torch.cat((question.around(image_tokens), said), dim=1)
        hidden = read(base, rows)[:, -answers.shape[1] :]
        logits = base.head(hidden).float()
        every = functional.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="sum")
        return every / answers.shape[1]


def read(base: LlavaBase, rows: Tensor) -> Tensor:
    """Hidden states (batch, n_rows, width) of rows that the language model reads."""
    hidden: Tensor = base.language(inputs_embeds=rows, use_cache=False).last_hidden_state
    return hidden


def decision(base: LlavaBase, hidden: Tensor) -> Tensor:
    """Score of the hidden states at the last position of a prompt.

    Parameters
    ----------
    base
        Whose head and words for Yes and No are used.
    hidden
        (batch, width).

    Returns
    -------
    Tensor
        (batch,) float32: log of the summed odds of all ways to say Yes, against those to say No;
        its sigmoid is the probability of Yes among both.
    """
    sides = []
    for ids in (base.answers.yes, base.answers.no):
        chosen = torch.tensor(ids, device=hidden.device)
        bias = None if base.head.bias is None else base.head.bias[chosen]
        logits = functional.linear(hidden, base.head.weight[chosen], bias)
        sides.append(logits.float().logsumexp(dim=-1))
    return sides[0] - sides[1]
