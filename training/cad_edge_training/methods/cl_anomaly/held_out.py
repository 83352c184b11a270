"""Good parts that are held out, as the tower sees them, and the scores that they give."""

import numpy as np
import torch

from cad_edge.calibration import Calibration
from cad_edge_training.backbones.llava import LlavaBase
from cad_edge_training.held_out_scores import HeldOutImages, HeldOutScores
from cad_edge_training.held_out_scores import calibrate as calibrate_scores
from cad_edge_training.learned import Images, views_in
from cad_edge_training.methods.cl_anomaly.model import CLAnomaly
from cad_edge_training.methods.cl_anomaly.tower_tokens import raw_tokens, samples_at_once

Tokens = np.ndarray[tuple[int, ...], np.dtype[np.float16]]


def tokens_to_keep(base: LlavaBase, images: Images) -> Tokens:
    """Tower tokens of held-out images; far outliers are cut to fit."""
    count = samples_at_once(views_in(images))
    parts = [
        raw_tokens(base, images[start : start + count]).cpu().numpy()
        for start in range(0, len(images), count)
    ]
    largest = np.finfo(np.float16).max
    return np.concatenate(parts).clip(-largest, largest).astype(np.float16)


def calibrate(model: CLAnomaly, tokens: Tokens, images: HeldOutImages) -> Calibration:
    """Score held-out good parts with a model as it is now.

    Parameters
    ----------
    model
        Of the task they belong to.
    tokens
        (n, [views,] n_tokens, vision_width) float16 tower tokens.
    images
        Which images they are of.
    """
    return calibrate_scores(HeldOutScores(np.array(score_each(model, tokens))), images)


def score_each(model: CLAnomaly, tokens: Tokens) -> list[float]:
    """Score images by their tower tokens (n, n_tokens, vision_width) float16, in their order."""
    scores, count = [], samples_at_once(tokens.shape[1] if tokens.ndim == 4 else 1)
    with torch.inference_mode():
        for start in range(0, len(tokens), count):
            raw = torch.from_numpy(tokens[start : start + count].astype(np.float32))
            raw = raw.to(model.anchors.device)
            scores += [float(score) for score in model.from_tokens(raw)]
    return scores
