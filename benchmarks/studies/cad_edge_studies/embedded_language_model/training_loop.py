"""The pre-training: a language model of five million parameters learns from scratch."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_studies.embedded_language_model import packing, questions
from cad_edge_studies.embedded_language_model.model import TrainableModel, defective_cells
from cad_edge_studies.embedded_language_model.scenes import DescribedScene, scene_pairs
from cad_edge_training.backbones.llava.chat import ChatTexts, find_answers, token_ids
from cad_edge_training.backbones.llava.small import VOCABULARY
from cad_edge_training.backbones.llava.small_tokenizer import build_tokenizer

FIRST_PAIRS = 48  # pairs that standardise the tower's tokens
FIRST = 2_000_003  # added to the seed of their scenes, so that no training image is among them
FOLLOW_UP, ANOTHER = 0.4, 0.25  # how often a decision is followed up, and another question asked
DESCRIBED = 0.9  # how often all about the defect is asked for besides
DECISION_WEIGHT, INFORMATIVE_WEIGHT = 3.0, 2.0  # of Yes and No, and of words that the image decides
LOCALISATION_WEIGHT, DEFECTIVE_CELL_WEIGHT = 1.0, 4.0
CLIP = 1.0  # norm of the gradient
REPORTED = 50  # steps


@dataclass(frozen=True)
class PretrainingPlan:
    """What a run is made of."""

    seed: int = 0
    steps: int = 1400
    minutes: float = 18.0
    """Cap on the time of the training loop; the schedule follows the steps."""
    pairs: int = 6
    """Good and defective images of one step."""
    rate: float = 1e-3
    warm_up: int = 40
    decay: float = 0.02

    def rate_at(self, step: int) -> float:
        """Learning rate: linear warm-up, then half a cosine to a fiftieth."""
        progress = step / max(1, self.steps)
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        return self.rate * min(1.0, (step + 1) / self.warm_up) * cosine


def train(plan: PretrainingPlan, report: Callable[[str], None]) -> tuple[TrainableModel, int]:
    """Train from scratch; return the model and the steps that the time sufficed for."""
    model = TrainableModel(build_tokenizer(questions.corpus(), VOCABULARY), plan.seed)
    model.standardise(model.tower_tokens(scene_pairs(plan.seed + FIRST, 0, FIRST_PAIRS)))
    objective = Objective(model)
    optimiser = torch.optim.AdamW(
        model.trainable(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay
    )
    start, losses = time.monotonic(), []
    for step in range(plan.steps):
        if time.monotonic() - start > 60 * plan.minutes:
            return model, step
        scenes = scene_pairs(plan.seed, step * plan.pairs, plan.pairs)
        loss = objective.loss(scenes, np.random.default_rng((plan.seed, 1, step)))
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(model.trainable(), CLIP)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % REPORTED == 0:
            mean = np.mean(losses[-REPORTED:])
            report(f"step {step + 1}: loss {mean:.3f}, {time.monotonic() - start:.0f} s")
    return model, plan.steps


class Objective:
    """The loss of a batch of scenes."""

    def __init__(self, model: TrainableModel) -> None:
        self.model = model
        self.texts = ChatTexts()
        self.before = token_ids(model.tokenizer, self.texts.before_image)
        self.weight = torch.ones(model.tokenizer.get_vocab_size())
        for word in questions.informative_words():
            self.weight[list(token_ids(model.tokenizer, f" {word}"))] = INFORMATIVE_WEIGHT
        answers = find_answers(model.tokenizer)
        self.weight[[*answers.yes, *answers.no]] = DECISION_WEIGHT

    def loss(self, scenes: Sequence[DescribedScene], rng: np.random.Generator) -> Tensor:
        """Loss on the answers, and on which cells of the image are defective.

        The second teaches in hundreds of steps what Yes and No alone take thousands for: to
        compare every cell with the others. Its head is thrown away.
        """
        tokens = self.model.tower_tokens(scenes)
        batch = [self._conversations(scene, rng) for scene in scenes]
        packed = packing.pack(self.before, tokens.shape[1] + 1, batch)
        hidden = self.model(tokens, packed)
        answer = packing.answer_loss(self.model.head(hidden), packed.labels, self.weight)
        return answer + LOCALISATION_WEIGHT * self._localisation_loss(hidden, packed, scenes)

    def _conversations(
        self, scene: DescribedScene, rng: np.random.Generator
    ) -> list[packing.TokenisedConversation]:
        asked = questions.TALK if rng.random() < FOLLOW_UP else questions.TALK[:1]
        turns = [[ask(scene, rng) for ask in asked]]
        for share, ask in (ANOTHER, questions.explanation), (DESCRIBED, questions.description):
            if rng.random() < share:
                turns.append([ask(scene, rng)])
        tokenizer, texts = self.model.tokenizer, self.texts
        return [packing.write_conversation(tokenizer, texts, part) for part in turns]

    def _localisation_loss(
        self, hidden: Tensor, packed: packing.Packed, scenes: Sequence[DescribedScene]
    ) -> Tensor:
        rows = hidden[:, packed.image][:, :-1]
        return functional.binary_cross_entropy_with_logits(
            self.model.localiser(rows)[..., 0],
            defective_cells(scenes, math.isqrt(rows.shape[1])),
            pos_weight=torch.tensor(DEFECTIVE_CELL_WEIGHT),
        )
