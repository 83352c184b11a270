"""How well a CLIP ranks texts for held-out scenes, beside guessing."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from cad_edge_studies.embedded_language_model.scenes import DescribedScene, scene_pairs
from cad_edge_studies.small_clip.captions import NAMES, caption, naming
from cad_edge_studies.small_clip.model import pixels_of, similarities

CAPTIONS = 100  # captions among which the one of an image is looked for
PAIRS = 400  # held-out parts, each good and with a defect


@dataclass(frozen=True)
class Ranking:
    """Shares of images whose own text is first, and among the first five."""

    images: int
    texts: int
    """Among which an image's own is looked for."""
    top_1: float
    top_5: float
    chance_1: float
    chance_5: float


def rank(scores: Tensor, right: Sequence[int]) -> Ranking:
    """Rank the texts of each image by scores (images, texts); ``right`` (images,) is its own."""
    own = scores.gather(1, torch.tensor(right)[:, None])
    better = (scores > own).sum(dim=1)
    images, texts = scores.shape
    return Ranking(
        images,
        texts,
        float((better < 1).float().mean()),
        float((better < 5).float().mean()),
        1 / texts,
        min(1.0, 5 / texts),
    )


@torch.no_grad()
def rankings(model: CLIPModel, tokenizer: CLIPTokenizer, seed: int) -> dict[str, Ranking]:
    """Rank captions, product names, and the captions of one part good and with its defect.

    The first asks for one of `CAPTIONS` different ones at a time, the second for one of all
    `NAMES`, the third for one of two.
    """
    scenes = scene_pairs(seed, 0, PAIRS)
    pixels = torch.cat(
        [pixels_of(scenes[start : start + 64]) for start in range(0, len(scenes), 64)]
    )
    found: list[Tensor] = []
    right: list[int] = []
    for group in _distinct(scenes):
        texts = [caption(scenes[index]) for index in group]
        found.append(similarities(model, tokenizer, pixels[group], texts))
        right += range(len(group))
    names = similarities(model, tokenizer, pixels, [naming(name) for name in NAMES])
    pairs = []
    for first in range(0, len(scenes), 2):
        texts = [caption(scene) for scene in scenes[first : first + 2]]
        pairs.append(similarities(model, tokenizer, pixels[first : first + 2], texts))
    return {
        "caption": rank(torch.cat(found), right),
        "name": rank(names, [NAMES.index(scene.name) for scene in scenes]),
        "good or defective": rank(torch.cat(pairs), [0, 1] * (len(scenes) // 2)),
    }


def _distinct(scenes: Sequence[DescribedScene]) -> list[list[int]]:
    """Places of scenes in groups of `CAPTIONS` with captions that differ."""
    groups: list[dict[str, int]] = [{}]
    for index, scene in enumerate(scenes):
        if len(groups[-1]) == CAPTIONS:
            groups.append({})
        groups[-1].setdefault(caption(scene), index)
    return [list(group.values()) for group in groups if len(group) == CAPTIONS]
