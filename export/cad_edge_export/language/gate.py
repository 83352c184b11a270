"""Weights of the private experts of an image, from the anchors of all tasks (CL-Anomaly Eq. 4)."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cad_edge.store.artifact import Tensors

Routing = Literal["soft", "hard", "selector"]

ANCHORS = "anchors"


def pack_anchor(learned: Tensors) -> Tensors:
    """``anchors`` (1, width) of length one, of the artifact's ``anchor`` (width,)."""
    anchor = learned["anchor"].astype(np.float64)
    length = max(float(np.linalg.norm(anchor)), 1e-12)
    return {ANCHORS: (anchor / length).astype(np.float32)[None]}


def of_frame(anchor: Tensor, views: int) -> Tensor:
    """Mean (batch, width) of anchor (batch * views, width) over the views of each frame."""
    return anchor if views == 1 else anchor.reshape(-1, views, anchor.shape[1]).mean(1)


def needs_anchor(routing: Routing, private: bool) -> bool:
    """Whether weights depend on the image."""
    return private and routing != "selector"


def weights(
    anchor: Tensor | None, values: Mapping[str, Tensor], routing: Routing, tau: float
) -> Tensor | None:
    """Weights (batch, tasks) float32.

    Parameters
    ----------
    anchor
        (batch, width) float32, mean over the tower's tokens of the image; None where weights do not
        depend on it, and then nothing is returned: all that is bound weighs one.
    values
        Holds ``anchors`` (tasks, width), each of length one.
    routing
        ``soft``, or ``hard`` for the nearest alone.
    tau
        Temperature of the soft form.
    """
    if anchor is None:
        return None
    cosines = functional.normalize(anchor, dim=1) @ values[ANCHORS].T
    if routing == "soft":
        return torch.softmax(cosines / tau, dim=1)
    # Of equally near tasks the first; a comparison with the largest cosine would take all of them.
    places = torch.arange(cosines.shape[1])
    return (cosines.argmax(dim=1, keepdim=True) == places).float()
