"""Make the embedded base model: `python -m cad_edge_training.backbones.llava.pretrain --out DIR`.

A language model of five million parameters learns from scratch to answer questions about
procedural images, half of them defective. Equal seeds and steps give equal weights on one machine.
"""

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge_training.backbones.llava.chat import ChatTexts, find_answers, token_ids
from cad_edge_training.backbones.llava.examination import Result, examine
from cad_edge_training.backbones.llava.loading import load_llava
from cad_edge_training.backbones.llava.packing import (
    Conversation,
    Packed,
    answer_loss,
    pack,
    write_conversation,
)
from cad_edge_training.backbones.llava.questions import (
    conversation,
    corpus,
    decision,
    description,
    explanation,
    telling_words,
)
from cad_edge_training.backbones.llava.scenes import Scene, scene_pair
from cad_edge_training.backbones.llava.small import SMALL, VOCABULARY
from cad_edge_training.backbones.llava.small_tokenizer import build_tokenizer
from cad_edge_training.backbones.llava.student import Student, damaged_cells

EXAMINED = 400  # pairs of held-out scenes
FIRST_PAIRS = 48  # pairs that standardise the tower's tokens
# Their scenes are of other seeds, so that no training image is among them.
HELD_OUT, FIRST = 1_000_003, 2_000_003
FOLLOWED, FURTHER = 0.4, 0.25  # how often a decision is followed up, and another question asked
DESCRIBED = 0.9  # how often all about the defect is asked for besides
DECISION_WEIGHT, TELLING_WEIGHT = 3.0, 2.0  # of Yes and No, and of words that the image decides
POINTING_WEIGHT, DAMAGED_WEIGHT = 1.0, 4.0
CLIP = 1.0  # norm of the gradient
REPORTED = 50  # steps


@dataclass(frozen=True)
class Plan:
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


def train(plan: Plan, say: Callable[[str], None]) -> tuple[Student, int]:
    """Train from scratch; return the student and the steps that the time sufficed for."""
    student = Student(build_tokenizer(corpus(), VOCABULARY), plan.seed)
    student.standardise(student.look(_scenes(plan.seed + FIRST, 0, FIRST_PAIRS)))
    training_set = _Lesson(student)
    optimiser = torch.optim.AdamW(
        student.learned(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay
    )
    start, losses = time.monotonic(), []
    for step in range(plan.steps):
        if time.monotonic() - start > 60 * plan.minutes:
            return student, step
        scenes = _scenes(plan.seed, step * plan.pairs, plan.pairs)
        loss = training_set.loss(scenes, np.random.default_rng((plan.seed, 1, step)))
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(student.learned(), CLIP)
        optimiser.step()
        losses.append(loss.item())
        if (step + 1) % REPORTED == 0:
            mean = np.mean(losses[-REPORTED:])
            say(f"step {step + 1}: loss {mean:.3f}, {time.monotonic() - start:.0f} s")
    return student, plan.steps


def _scenes(seed: int, first: int, pairs: int) -> list[Scene]:
    return [scene for index in range(first, first + pairs) for scene in scene_pair(seed, index)]


class _Lesson:
    """The loss of a batch of scenes."""

    def __init__(self, student: Student) -> None:
        self.student = student
        self.texts = ChatTexts()
        self.before = token_ids(student.tokenizer, self.texts.before_image)
        self.weight = torch.ones(student.tokenizer.get_vocab_size())
        for word in telling_words():
            self.weight[list(token_ids(student.tokenizer, f" {word}"))] = TELLING_WEIGHT
        answers = find_answers(student.tokenizer)
        self.weight[[*answers.yes, *answers.no]] = DECISION_WEIGHT

    def loss(self, scenes: list[Scene], rng: np.random.Generator) -> Tensor:
        """Loss on the answers, and on which cells of the image are damaged.

        The second teaches in hundreds of steps what Yes and No alone take thousands for: to
        compare every cell with the others. Its head is thrown away.
        """
        tokens = self.student.look(scenes)
        batch = [self._conversations(scene, rng) for scene in scenes]
        packed = pack(self.before, tokens.shape[1] + 1, batch)
        hidden = self.student(tokens, packed)
        answered = answer_loss(self.student.head(hidden), packed.labels, self.weight)
        return answered + POINTING_WEIGHT * self._pointing(hidden, packed, scenes)

    def _conversations(self, scene: Scene, rng: np.random.Generator) -> list[Conversation]:
        turns = [conversation(scene, rng) if rng.random() < FOLLOWED else (decision(scene, rng),)]
        for share, ask in ((FURTHER, explanation), (DESCRIBED, description)):
            if rng.random() < share:
                turns.append((ask(scene, rng),))
        return [write_conversation(self.student.tokenizer, self.texts, part) for part in turns]

    def _pointing(self, hidden: Tensor, packed: Packed, scenes: list[Scene]) -> Tensor:
        rows = hidden[:, packed.image][:, :-1]
        logits = self.student.pointer(rows)[..., 0]
        cells = damaged_cells(scenes, math.isqrt(rows.shape[1]))
        return functional.binary_cross_entropy_with_logits(
            logits, cells, pos_weight=torch.tensor(DAMAGED_WEIGHT)
        )


def examined(folder: Path, plan: Plan, steps: int, seconds: float) -> Result:
    """Examine what was saved, and note beside it in ``training.json`` how it was made."""
    result = examine(load_llava(str(folder), name=SMALL), plan.seed + HELD_OUT, EXAMINED)
    note = {
        "made_by": "python -m cad_edge_training.backbones.llava.pretrain",
        "plan": asdict(plan),
        "steps": steps,
        "seconds": round(seconds),
        "held_out_pairs": EXAMINED,
        "held_out_accuracy": round(result.accuracy, 4),
        "held_out_auroc": round(result.auroc, 4),
        "found_per_kind": {kind: round(share, 3) for kind, share in result.per_kind.items()},
        "described": {what: round(share, 3) for what, share in result.described.items()},
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy", "pillow")}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
    }
    (folder / "training.json").write_text(json.dumps(note, indent=2) + "\n", "utf-8")
    return result


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", default=Plan.steps, show_default=True, help="Steps of the schedule.")
@click.option("--minutes", default=Plan.minutes, show_default=True, help="Cap on the time.")
@click.option("--seed", default=Plan.seed, show_default=True, help="Of weights and images.")
def main(out: Path, steps: int, minutes: float, seed: int) -> None:
    """Train the embedded base model and write it to a folder."""
    plan = Plan(seed=seed, steps=steps, minutes=minutes)
    start = time.monotonic()
    student, done = train(plan, click.echo)
    seconds = time.monotonic() - start
    student.save(out)
    result = examined(out, plan, done, seconds)
    click.echo(
        f"{done} steps in {seconds:.0f} s; held out: accuracy {result.accuracy:.3f}, "
        f"AUROC {result.auroc:.3f}; {out}"
    )


if __name__ == "__main__":
    main()
