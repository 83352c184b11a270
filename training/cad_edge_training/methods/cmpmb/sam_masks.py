"""All masks of an image by Segment Anything (Kirillov et al., ICCV 2023), for training only.

A square lattice of points is asked one by one; masks that the network trusts, that are stable
under another threshold and that are not found twice remain. The steps and figures are those of the
published automatic mask generator, without its crops.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.data.image import Frame
from cad_edge_training.backbones.pretrained import load_pretrained

MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)
POINTS_PER_SIDE = 32
POINTS_AT_ONCE = 64
TRUST = 0.88  # least intersection over union that the network predicts of its own mask
STABILITY = 0.95  # least ratio of the areas at logits above +1 and above -1
OVERLAP = 0.7  # intersection over union of boxes from which two masks are one


def load_sam(source: str) -> Callable[[Frame], NDArray[np.bool_]]:
    """Give a function from an image (h, w, 3) uint8 to its masks (n, h, w) bool, best first.

    Raises
    ------
    OptionError
        There is no SAM at ``source``, a hub id or local folder.
    """
    found = load_pretrained(source, ("sam",))
    side = int(found.config.vision_config.image_size)
    return lambda image: automatic_masks(found.model, image, side)


@torch.no_grad()
def automatic_masks(
    model: nn.Module, image: Frame, side: int, points_per_side: int = POINTS_PER_SIDE
) -> NDArray[np.bool_]:
    """Masks (n, h, w) bool of an image (h, w, 3) uint8, best first; ``side`` is SAM's input."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    inner = (round(height * scale), round(width * scale))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    pixels = functional.interpolate(pixels, inner, mode="bilinear", antialias=True)
    mean, deviation = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    pixels = (pixels - mean) / deviation
    pixels = functional.pad(pixels, (0, side - inner[1], 0, side - inner[0]))
    embedding = model.get_submodule("vision_encoder")(pixels).last_hidden_state
    masks, trust = [], []
    for points in _lattice(inner, points_per_side).split(POINTS_AT_ONCE):  # type: ignore[no-untyped-call]
        answer = model(image_embeddings=embedding, input_points=points[None, :, None])
        logits = _on_image(answer.pred_masks[0].flatten(0, 1), inner, side, (height, width))
        good = _is_good(logits, answer.iou_scores[0].flatten())
        masks.append((logits > 0)[good])
        trust.append(answer.iou_scores[0].flatten()[good])
    return _distinct(torch.cat(masks).numpy(), torch.cat(trust).numpy())


def _lattice(size: tuple[int, int], count: int) -> Tensor:
    """Points (count * count, 2) as x, y at the centres of the cells of an image of that size."""
    centres = (torch.arange(count) + 0.5) / count
    y, x = torch.meshgrid(centres * size[0], centres * size[1], indexing="ij")
    return torch.stack((x.flatten(), y.flatten()), dim=1)


def _on_image(logits: Tensor, inner: tuple[int, int], side: int, size: tuple[int, int]) -> Tensor:
    """Cut the padding off logits (n, low, low) and resize them to (n, height, width)."""
    low = logits.shape[-1]
    rows, columns = (max(1, round(low * length / side)) for length in inner)
    cut = logits[None, :, :rows, :columns]
    return functional.interpolate(cut, size, mode="bilinear", align_corners=False)[0]


def _is_good(logits: Tensor, trust: Tensor) -> Tensor:
    """Choose which masks (n, h, w) to keep: (n,) bool."""
    certain = (logits > 1).flatten(1).sum(dim=1)
    possible = (logits > -1).flatten(1).sum(dim=1)
    stable = certain >= STABILITY * possible
    return (trust > TRUST) & stable & (logits > 0).flatten(1).any(dim=1)


def _distinct(masks: NDArray[np.bool_], trust: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Drop masks (n, h, w) whose box is that of a more trusted one; the rest, best first."""
    order = np.argsort(-trust, kind="stable")
    boxes = np.array([_box(mask) for mask in masks]).reshape(-1, 4)
    kept: list[int] = []
    for index in order:
        if all(_overlap(boxes[index], boxes[other]) <= OVERLAP for other in kept):
            kept.append(int(index))
    return masks[kept]


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _overlap(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Intersection over union of two boxes (top, left, bottom, right)."""
    top_left = np.maximum(first[:2], second[:2])
    bottom_right = np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.maximum(bottom_right - top_left, 0)))
    total = sum(float(np.prod(box[2:] - box[:2])) for box in (first, second))
    return shared / (total - shared)
