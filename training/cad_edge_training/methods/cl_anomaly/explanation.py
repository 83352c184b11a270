"""Answers in words, written by transformers' own loop: what every other form has to agree with."""

from typing import Any

import torch
from torch import Tensor

from cad_edge_training.backbones.llava.greedy_answers import GreedyAnswers
from cad_edge_training.methods.cl_anomaly.model import CLAnomaly
from cad_edge_training.methods.cl_anomaly.questions import Question


def greedy(model: CLAnomaly, raw: Tensor, count: int, question: str | None = None) -> GreedyAnswers:
    """Answer a question about images in ``count`` tokens; one that ends an answer is as any other.

    Parameters
    ----------
    model
        Of a task; its experts are then chosen for these images.
    raw
        Tower tokens of the images, from `CLAnomaly.raw`.
    count
        Tokens of every answer.
    question
        The task's own without it.
    """
    base: Any = model.base.model
    asked = model.question if question is None else Question.of(model.base, question)
    with torch.inference_mode():
        model.choose(raw)
        rows = asked.around(model.base.image_tokens(raw))
        found = base.generate(
            inputs_embeds=rows,
            attention_mask=torch.ones(rows.shape[:2], dtype=torch.int64, device=rows.device),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            repetition_penalty=1.0,  # a folder's own settings may have another
            pad_token_id=0,
            eos_token_id=None,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return GreedyAnswers(found.sequences, torch.stack(found.logits, dim=1).float())
