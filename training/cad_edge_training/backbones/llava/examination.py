"""How well a base model decides on synthetic images that it was not trained on."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge_training.backbones.llava.base import LlavaBase
from cad_edge_training.backbones.llava.questions import DECISION
from cad_edge_training.backbones.llava.scenes import scene_pair

CHUNK = 8  # images at a time


class Result(NamedTuple):
    """What a base model knows without having seen a product."""

    accuracy: float
    """Share of right decisions, half of the images being defective."""
    auroc: float
    """Area under the curve of the difference of the logits of Yes and No."""
    per_kind: dict[str, float]
    """Share of the defects of each kind that are called so."""


@torch.no_grad()
def yes_minus_no(base: LlavaBase, images: NDArray[np.uint8]) -> Tensor:
    """Difference (n,) of the logits of Yes and No for images (n, height, width, 3) uint8."""
    prompt = base.prompt(DECISION)
    before = base.embed(torch.tensor(prompt.before))
    after = base.embed(torch.tensor(prompt.after))
    differences = []
    for start in range(0, len(images), CHUNK):
        pixels = base.normalise(torch.from_numpy(images[start : start + CHUNK]))
        states = base.run(pixels, max(base.token_blocks))
        rows = base.image_tokens(base.tower_tokens(states))
        texts = [part.expand(len(rows), -1, -1) for part in (before, after)]
        hidden = base.language(inputs_embeds=torch.cat((texts[0], rows, texts[1]), dim=1))
        logits = base.head(hidden.last_hidden_state[:, -1])
        yes, no = (list(ids) for ids in (base.answers.yes, base.answers.no))
        differences.append(logits[:, yes].logsumexp(1) - logits[:, no].logsumexp(1))
    return torch.cat(differences)


def examine(base: LlavaBase, seed: int, pairs: int) -> Result:
    """Ask for decisions on ``pairs`` good and as many defective scenes of ``seed``."""
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
    )
