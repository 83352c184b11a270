"""Good parts that are held out: what they say of a network."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cad_edge.calibration import Calibration, lower_quartile
from cad_edge.store.artifact import Tensors
from cad_edge_training.held_out_scores import HeldOutImages, HeldOutScores, calibrate
from cad_edge_training.methods.cdad.form import Array
from cad_edge_training.methods.cdad.model import CDAD
from cad_edge_training.methods.cdad.parts import Parts

HELD_OUT, EXPLAINED, FREE = "held_out", "explained", "free"
"""Names of an artifact's tensors: its held-out parts (n, ...) as `Form.to_keep` lays them out, the
share of how they differ that the network restored when it had learned them, and the share of
directions that was free then."""
Half = np.ndarray[Any, np.dtype[np.float16]]

_BATCH = 8
_LARGEST = float(np.finfo(np.float16).max)


class HeldOutReconstruction(NamedTuple):
    """What a model says of held-out parts."""

    scores: HeldOutScores
    restored: Tensor
    """(n, c, h, w)"""


def to_half(latents: Tensor) -> Half:
    """Latents of any shape as an artifact keeps them, float16; what is too large is cut off."""
    return latents.clamp(-_LARGEST, _LARGEST).half().numpy()


def of_half(kept: Array) -> Tensor:
    """Undo `to_half`, but for rounding."""
    return torch.from_numpy(kept.astype(np.float32))


def judge(model: CDAD, held_out: Parts) -> HeldOutReconstruction:
    """Show a model held-out parts."""
    scores, peaks, quartiles, restored = [], [], [], []
    with torch.inference_mode():
        for some in held_out.split(_BATCH):
            restored.append(model.reconstructed(some))
            score, located = model.form.verdict(some.latents, restored[-1])
            scores += score.tolist()
            peaks += located.amax(dim=(1, 2)).tolist()
            quartiles += lower_quartile(located.numpy()).tolist()
    found = HeldOutScores(np.array(scores), np.array(peaks), np.array(quartiles))
    return HeldOutReconstruction(found, torch.cat(restored))


def calibration(model: CDAD, tensors: Tensors, images: HeldOutImages) -> Calibration:
    """Score the held-out parts of an artifact's ``tensors`` with a model as it is now."""
    return calibrate(judge(model, model.form.kept(tensors[HELD_OUT])).scores, images)


def explained(latents: Tensor, restored: Tensor, usual: Tensor) -> float:
    """R^2: share of how held-out parts differ from the usual one that is restored.

    Parameters
    ----------
    latents, restored
        (n, c, h, w) of held-out parts.
    usual
        (c, h, w), the mean of the parts that were learned from.
    """
    lost, constant = (latents - restored).square().mean(), (latents - usual).square().mean()
    return float(1 - lost / constant) if constant > 0 else 0.0
