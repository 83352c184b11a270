"""How well a base model decides, and describes, synthetic images that it was not trained on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge_training.backbones.llava.base import LlavaBase
from cad_edge_training.backbones.llava.questions import DECISION, DESCRIBE
from cad_edge_training.backbones.llava.scenes import Scene, scene_pair

CHUNK = 8  # images at a time
LONGEST = 40  # tokens of a description


class Result(NamedTuple):
    """What a base model knows without having seen a product."""

    accuracy: float
    """Share of right decisions, half of the images being defective."""
    auroc: float
    """Area under the curve of the difference of the logits of Yes and No."""
    per_kind: dict[str, float]
    """Share of the defects of each kind that are answered with Yes."""
    described: dict[str, float]
    """Share of the defects whose description names the kind, the place, colour and part."""


@torch.no_grad()
def yes_minus_no(base: LlavaBase, images: NDArray[np.uint8]) -> Tensor:
    """Difference (n,) of the logits of Yes and No for images (n, height, width, 3) uint8."""
    differences = []
    for start in range(0, len(images), CHUNK):
        rows = _asked(base, images[start : start + CHUNK], DECISION)
        hidden = base.language(inputs_embeds=rows)
        logits = base.head(hidden.last_hidden_state[:, -1])
        yes, no = (list(ids) for ids in (base.answers.yes, base.answers.no))
        differences.append(logits[:, yes].logsumexp(1) - logits[:, no].logsumexp(1))
    return torch.cat(differences)


@torch.no_grad()
def descriptions(base: LlavaBase, images: NDArray[np.uint8]) -> list[str]:
    """Greedy answers on what is wrong with images (n, height, width, 3) uint8."""
    model: Any = base.model
    said = []
    for start in range(0, len(images), CHUNK):
        rows = _asked(base, images[start : start + CHUNK], DESCRIBE)
        answers = model.generate(
            inputs_embeds=rows,
            attention_mask=torch.ones(rows.shape[:2], dtype=torch.long),
            max_new_tokens=LONGEST,
            do_sample=False,
            eos_token_id=list(base.stop_ids),
            pad_token_id=base.stop_ids[0],
        )
        # What comes after the end of an answer is padding, special tokens as the end itself.
        said += base.tokenizer.decode_batch(answers.tolist())
    return said


def _asked(base: LlavaBase, images: NDArray[np.uint8], question: str) -> Tensor:
    """Rows (n, n_rows, width) of a question about each image."""
    prompt = base.prompt(question)
    rows = base.image_tokens(base.look(torch.from_numpy(images)))
    before, after = (
        base.embed(torch.tensor(ids)).expand(len(rows), -1, -1)
        for ids in (prompt.before, prompt.after)
    )
    return torch.cat((before, rows, after), dim=1)


def examine(base: LlavaBase, seed: int, pairs: int) -> Result:
    """Ask about ``pairs`` good and as many defective scenes of ``seed``."""
    scenes = [scene for index in range(pairs) for scene in scene_pair(seed, index)]
    difference = yes_minus_no(base, np.stack([scene.image for scene in scenes])).numpy()
    good, bad = difference[::2], difference[1::2]
    ranks = (bad[:, None] > good).mean() + 0.5 * (bad[:, None] == good).mean()
    kinds: dict[str, list[bool]] = {}
    for scene, logit in zip(scenes[1::2], bad, strict=True):
        assert scene.flaw is not None
        kinds.setdefault(scene.flaw.kind, []).append(bool(logit > 0))
    return Result(
        accuracy=float(((good <= 0).mean() + (bad > 0).mean()) / 2),
        auroc=float(ranks),
        per_kind={kind: float(np.mean(found)) for kind, found in sorted(kinds.items())},
        described=_described(base, scenes[1::2]),
    )


def _described(base: LlavaBase, scenes: Sequence[Scene]) -> dict[str, float]:
    said = descriptions(base, np.stack([scene.image for scene in scenes]))
    right: dict[str, list[bool]] = {"kind": [], "place": [], "colour": [], "part": []}
    for scene, words in zip(scenes, said, strict=True):
        assert scene.flaw is not None
        right["kind"].append(f" {scene.flaw.kind} in the " in words)
        right["place"].append(f" in the {scene.flaw.place} of the " in words)
        right["colour"].append(f" of the {scene.colour} " in words)
        right["part"].append(words.endswith(f" {scene.name}."))
    return {name: float(np.mean(found)) for name, found in right.items()}
