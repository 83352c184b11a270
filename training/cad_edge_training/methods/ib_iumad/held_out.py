"""Good parts that an artifact keeps, as the frozen backbone sees them, and scores that they give.

At most 32 are held out of learning, and at most 32 of those that were learned from are kept beside
them, for the covariance of residuals alone. They are float16 tokens and never pixels: of
EfficientNet-Lite0 at 224 px 75 KB of each modality and image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from cad_edge.calibration import Calibration, lower_quartile
from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import Tensors
from cad_edge_training.division import KEPT, Index
from cad_edge_training.held_out_scores import HeldOutImages, HeldOutScores
from cad_edge_training.held_out_scores import calibrate as calibrate_scores
from cad_edge_training.methods.ib_iumad.frozen import FrozenFeatures, joined

if TYPE_CHECKING:
    from cad_edge_training.methods.ib_iumad.model import IBIUMAD

HELD, LEARNED = "held_out/", "learned/"
"""Prefixes of tensors: of parts that are held out, and of parts that were learned from."""
MEASURED, GROUP = "measured", "group"
WHITENED = "whitened"
"""Tensor that says whether good parts are enough for a covariance of residuals."""
_BATCH = 8

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class KeptParts:
    """Good parts of one product, the held-out ones first."""

    seen: FrozenFeatures
    groups: tuple[int, ...]
    """Number of the group of each."""
    held_out: int
    """How many are held out."""


def spread_evenly(index: Index) -> Index:
    """At most 32 of ``index`` (n,), evenly."""
    places = np.unique(np.linspace(0, len(index) - 1, min(len(index), KEPT)).round().astype(int))
    chosen: Index = index[places]
    return chosen


def to_keep(held_out: FrozenFeatures, learned: FrozenFeatures, groups: Sequence[int]) -> Tensors:
    """Tensors of an artifact for kept parts; far outliers are cut to fit float16.

    Parameters
    ----------
    held_out, learned
        As seen.
    groups
        Number of the group of each, the held-out ones first.
    """
    found = {HELD + GROUP: np.array(groups, np.int64)}
    for prefix, seen in ((HELD, held_out), (LEARNED, learned)):
        found |= {prefix + name: _half(one) for name, one in seen.tokens.items()}
        if seen.measured is not None:
            found[prefix + MEASURED] = _half(seen.measured)
    return found


def kept(tensors: Mapping[str, Array]) -> KeptParts:
    """Undo `to_keep`; raise ArtifactError where a version before this one kept less."""
    if HELD + GROUP not in tensors:
        raise ArtifactError(
            "a product was learned by a version that kept too little of its good parts; learn the "
            "products again"
        )
    held_out, learned = (_seen(tensors, prefix) for prefix in (HELD, LEARNED))
    groups = tuple(map(int, tensors[HELD + GROUP]))
    count = len(next(iter(held_out.tokens.values())))
    return KeptParts(joined([held_out, learned]), groups, count)


def calibrate(model: "IBIUMAD", parts: KeptParts, images: HeldOutImages) -> Calibration:
    """Score held-out good parts with a model as it is now.

    Parameters
    ----------
    model
        Of the product that they show.
    parts
        From `kept`.
    images
        Which images the held-out ones are.
    """
    scores, peaks, quartiles = [], [], []
    with torch.inference_mode():
        for cells in torch.split(model.held_out_distances(parts), _BATCH):
            score, anomaly_map = model.scored(cells)
            scores += score.tolist()
            peaks += anomaly_map.amax(dim=(1, 2)).tolist()
            quartiles += lower_quartile(anomaly_map.numpy()).tolist()
    found = HeldOutScores(np.array(scores), np.array(peaks), np.array(quartiles))
    return calibrate_scores(found, images)


def numbered(groups: Sequence[str] | None, chosen: NDArray[np.int64]) -> tuple[int, ...]:
    """Give every chosen image the number of its group; without groups each is its own."""
    if groups is None:
        return tuple(range(len(chosen)))
    names = [groups[place] for place in chosen]
    return tuple(sorted(set(names)).index(name) for name in names)


def _seen(tensors: Mapping[str, Array], prefix: str) -> FrozenFeatures:
    whole = {
        name.removeprefix(prefix): torch.from_numpy(value.astype(np.float32))
        for name, value in tensors.items()
        if name.startswith(prefix) and name != HELD + GROUP
    }
    measured = whole.pop(MEASURED, None)
    return FrozenFeatures(whole, measured)


def _half(value: torch.Tensor) -> Array:
    largest = np.finfo(np.float16).max
    return value.numpy().clip(-largest, largest).astype(np.float16)
