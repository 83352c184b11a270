"""ANM: a sigmoid brings both branches to one scale; its centre is searched (CMPMB Sec. 3.4).

The paper chooses the centre b on a validation set that it does not define; labels of test images
would leak. Here it is chosen on held-out good parts beside copies with synthetic defects, whose
masks are known (METHODS 2.2).
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cad_edge_training.learned import Images
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.synthetic import synthetic_defects

STEPS = (0.0, 0.1, -0.1, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0)  # the smallest of equals comes first
MAX_ROUNDS = 100
MAX_IMAGES = 16  # held-out images that the search looks at, as many again with defects

Measure: TypeAlias = Callable[[Images], tuple[Tensor, Tensor | None]]
"""From images (n, height, width, 3) to raw maps (n, gh, gw): distance, and 1 - cosine to text."""


def anm(values: Tensor, shift: float, slope: float) -> Tensor:
    """1 / (1 + exp(-slope (values - shift))), elementwise, in (0, 1)."""
    return torch.sigmoid(slope * (values - shift))


def sigmoid_centres(
    held_out: Images, measure: Measure, config: Config, seed: int
) -> dict[str, Tensor]:
    """Choose the centres of the sigmoids without any real defect.

    Noise versions, which the paper uses elsewhere, are left out: with every pixel defective they
    would outweigh the small defects that a map is for.

    Parameters
    ----------
    held_out
        (n, height, width, 3) uint8, good parts that the memory of ``measure`` has not seen.
    measure
        Gives the raw maps of images.
    config
        Options of the method: slope, weight of the visual branch.
    seed
        Of the defects.

    Returns
    -------
    dict
        ``anm/patch`` and, with a text branch, ``anm/text``: () float32.
    """
    good = held_out[:MAX_IMAGES]
    damaged, masks = synthetic_defects(good, seed)
    visual, text = measure(np.concatenate((good, damaged)))
    defect = defect_share(np.concatenate((np.zeros_like(masks), masks)), visual.shape[1:])
    parts = [visual] if text is None else [visual, text]
    weights = [1.0] if text is None else [config.visual_weight, 1 - config.visual_weight]
    shifts = search_shifts(parts, weights, defect, config.slope)
    return {
        f"anm/{name}": torch.tensor(shift)
        for name, shift in zip(("patch", "text"), shifts, strict=False)
    }


def search_shifts(
    parts: list[Tensor], weights: list[float], defect: Tensor, slope: float
) -> list[float]:
    """Greedy search of every b, in turn, by b + step, for the best pixel AP of the fused map.

    It starts from the median of each part; from zero the sigmoid of distances far from zero is 1
    everywhere in float32. One part alone is ranked alike by every b, until the sigmoid saturates.

    Parameters
    ----------
    parts
        Raw maps (n, gh, gw).
    weights
        Of the parts in the fused map (DFS).
    defect
        (n, gh, gw) share of each patch's pixels that are defective.
    slope
        k.

    Returns
    -------
    list
        b of each part.
    """
    shifts = [float(part.median()) for part in parts]

    def quality(candidate: list[float]) -> float:
        branches = zip(parts, candidate, weights, strict=True)
        fused = torch.stack([w * anm(part, b, slope) for part, b, w in branches]).sum(dim=0)
        return pixel_ap(fused.numpy(), defect.numpy())

    best = quality(shifts)
    for _ in range(MAX_ROUNDS):
        before = best
        for index in range(len(parts)):
            moves = [[*shifts[:index], shifts[index] + s, *shifts[index + 1 :]] for s in STEPS]
            results = [quality(move) for move in moves]
            chosen = int(np.argmax(results))
            shifts, best = moves[chosen], results[chosen]
        if best <= before:
            break
    return shifts


def defect_share(masks: NDArray[np.bool_], grid: torch.Size) -> Tensor:
    """Share (n, gh, gw) float32 of defective pixels per patch; masks (n, height, width)."""
    share: Tensor = functional.adaptive_avg_pool2d(
        torch.from_numpy(masks).float()[:, None], (grid[0], grid[1])
    )
    return share[:, 0]


def pixel_ap(scores: NDArray[np.float32], defect: NDArray[np.float32]) -> float:
    """Average precision over the pixels of a map that is constant on every patch.

    Parameters
    ----------
    scores, defect
        Of one shape: score and share of defective pixels of each patch.

    Returns
    -------
    float
        Sum over the distinct scores of (recall gained) x precision; 0 without defective pixels.
    """
    order = np.argsort(-scores, axis=None, kind="stable")
    ranked = scores.ravel()[order]
    positive = np.cumsum(defect.ravel()[order], dtype=np.float64)
    if not len(ranked) or positive[-1] == 0:
        return 0.0
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    recall = positive[ends] / positive[-1]
    precision = positive[ends] / (ends + 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
