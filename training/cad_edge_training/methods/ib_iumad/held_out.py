"""Good parts that are held out, as the frozen backbone sees them, and the scores that they give.

An artifact keeps at most 32 of them, as float16 tokens and never as pixels: of EfficientNet-Lite0
at 224 px 75 KB of each modality and image.
"""

from typing import Any

import numpy as np
import torch

from cad_edge.calibration import Calibration, lower_quartile
from cad_edge.store.artifact import Tensors
from cad_edge_training.held_out_scores import HeldOutImages, HeldOutScores
from cad_edge_training.held_out_scores import calibrate as calibrate_scores
from cad_edge_training.methods.ib_iumad.frozen import FrozenFeatures
from cad_edge_training.methods.ib_iumad.model import IBIUMAD

HELD, MEASURED = "held_out/", "held_out/measured"
_BATCH = 8

Array = np.ndarray[Any, np.dtype[Any]]


def to_keep(seen: FrozenFeatures) -> Tensors:
    """Tensors of an artifact for what was seen of held-out images; far outliers are cut to fit."""
    found = {HELD + name: _half(one) for name, one in seen.tokens.items()}
    return found if seen.measured is None else found | {MEASURED: _half(seen.measured)}


def kept(tensors: Tensors) -> FrozenFeatures:
    """Undo `to_keep`."""
    whole = {
        name.removeprefix(HELD): torch.from_numpy(value.astype(np.float32))
        for name, value in tensors.items()
        if name.startswith(HELD)
    }
    measured = whole.pop("measured", None)
    return FrozenFeatures(whole, measured)


def calibrate(model: IBIUMAD, seen: FrozenFeatures, images: HeldOutImages) -> Calibration:
    """Score held-out good parts with a model as it is now.

    Parameters
    ----------
    model
        Of the product that they show.
    seen
        As the backbone sees them, from `kept`.
    images
        Which images they are.
    """
    scores, peaks, quartiles = [], [], []
    count = len(next(iter(seen.tokens.values())))
    with torch.inference_mode():
        for index in torch.split(torch.arange(count), _BATCH):
            score, anomaly_map = model.judge(seen.rows(index))
            scores += score.tolist()
            peaks += anomaly_map.amax(dim=(1, 2)).tolist()
            quartiles += lower_quartile(anomaly_map.numpy()).tolist()
    found = HeldOutScores(np.array(scores), np.array(peaks), np.array(quartiles))
    return calibrate_scores(found, images)


def _half(value: torch.Tensor) -> Array:
    largest = np.finfo(np.float16).max
    return value.numpy().clip(-largest, largest).astype(np.float16)
