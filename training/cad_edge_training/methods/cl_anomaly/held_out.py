"""Which good parts are held out, and the thresholds' scores that they give."""

from dataclasses import dataclass

import numpy as np
import torch

from cad_edge.calibration import Calibration, images_needed
from cad_edge.errors import DatasetError
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.learned import Images, views_in
from cad_edge_training.methods.cl_anomaly.model import CLAnomaly
from cad_edge_training.methods.cl_anomaly.tower_tokens import raw_tokens, samples_at_once

SHARE = 0.2  # of the good parts, where the stated rate does not need more
KEPT = 32  # at most: their tokens stay in the artifact, so that thresholds can be made anew
MINIMUM = 4

Index = np.ndarray[tuple[int], np.dtype[np.int64]]
Tokens = np.ndarray[tuple[int, ...], np.dtype[np.float16]]


@dataclass(frozen=True)
class Division:
    """Good parts by what they are for."""

    learned: Index
    held_out: Index


def divide(images: int, rate: float, seed: int, task: str) -> Division:
    """Draw the good parts that calibrate and take no part in learning.

    A fifth of them; as many as the stated rate needs, if at least half stay to learn from; never
    more than 32.

    Parameters
    ----------
    images
        Number of good parts.
    rate
        Stated false-reject rate.
    seed
        Of the draw.
    task
        Whose they are.

    Raises
    ------
    DatasetError
        There are too few.
    """
    if images < MINIMUM:
        raise DatasetError(
            f"{task} has {images} images of good parts, too few to learn and calibrate from; give "
            f"at least {MINIMUM}, better 30"
        )
    count = max(1, round(images * SHARE))
    if (needed := images_needed(rate)) <= images // 2:
        count = max(count, needed)
    order = np.random.default_rng(seed).permutation(images)
    count = min(count, KEPT)
    return Division(np.sort(order[count:]), np.sort(order[:count]))


def tokens_to_keep(base: LlavaBase, images: Images) -> Tokens:
    """Tower tokens of held-out images; far outliers are cut to fit."""
    count = samples_at_once(views_in(images))
    parts = [
        raw_tokens(base, images[start : start + count]).cpu().numpy()
        for start in range(0, len(images), count)
    ]
    largest = np.finfo(np.float16).max
    return np.concatenate(parts).clip(-largest, largest).astype(np.float16)


def calibrate(model: CLAnomaly, tokens: Tokens) -> Calibration:
    """Score held-out good parts with a model as it is now.

    Parameters
    ----------
    model
        Of the task they belong to.
    tokens
        (n, [views,] n_tokens, vision_width) float16 tower tokens.
    """
    scores = score_each(model, tokens)
    return Calibration(scheme="split", folds=1, scores=sorted(scores), map_peaks=[])


def score_each(model: CLAnomaly, tokens: Tokens) -> list[float]:
    """Score images by their tower tokens (n, n_tokens, vision_width) float16, in their order."""
    scores, count = [], samples_at_once(tokens.shape[1] if tokens.ndim == 4 else 1)
    with torch.inference_mode():
        for start in range(0, len(tokens), count):
            raw = torch.from_numpy(tokens[start : start + count].astype(np.float32))
            raw = raw.to(model.anchors.device)
            scores += [float(score) for score in model.from_tokens(raw)]
    return scores
