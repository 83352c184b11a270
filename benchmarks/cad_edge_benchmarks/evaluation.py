"""What a line would see: every test image routed on its own, then judged.

Three rules make the figures honest where routing and inspection meet.

* The score of an image is the calibrated score of the task it was routed to, right or wrong; an
  ``unknown_product`` verdict refuses the frame, so it counts as the highest score (+inf).
* Its map is the map of the task it was routed to, in held-out deviations above the held-out mean
  of that task's map peaks, because raw maps of two tasks have no common scale. A refused frame has
  no map; all of it is refused, so every pixel counts as the highest.
* Routing counts an ``unknown_product`` verdict on a known product as a mistake.

Maps are compared at the mask's own resolution. Masks and labels are read here and nowhere else.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cad_edge.calibration import Calibration, standardise
from cad_edge.dataset import LabelledImage
from cad_edge.errors import ImageError
from cad_edge.image import Frame, decode_image, decode_mask
from cad_edge_benchmarks.metrics import image_ap, image_auroc, mean_defined
from cad_edge_benchmarks.pixels import PixelScores
from cad_edge_runtime.detection import Detection

UNKNOWN = "unknown_product"

Detect: TypeAlias = Callable[[Frame | list[Frame], Path | None], Detection]
"""From a frame, or all views of a part where there are several, and a file with its depth, if there
is one, to what is said of it."""


@dataclass(frozen=True)
class Outcome:
    """What one test image came to; ``routed`` says that its own task was recognised."""

    anomalous: bool
    routed: bool
    verdict: str
    score: float


@dataclass(frozen=True)
class TaskEvaluation:
    """Figures of one task; None where undefined.

    ``false_reject_rate`` is the share of good test images with any verdict but ``normal``,
    ``detection_rate`` the same share of defective ones, and ``image_f1`` joins precision and recall
    of these verdicts: at the calibrated threshold, not at the best one for the test set.
    """

    image_auroc: float | None
    image_ap: float | None
    image_f1: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    aupro: float | None
    routing_normal: float | None
    routing_defective: float | None
    unknown_normal: float | None
    unknown_defective: float | None
    false_reject_rate: float | None
    detection_rate: float | None
    images_normal: int
    images_defective: int
    images_with_mask: int


RATES = tuple(
    name for name in TaskEvaluation.__dataclass_fields__ if not name.startswith("images_")
)
"""Fields of `TaskEvaluation` of which a mean over tasks is taken."""


def evaluate_task(
    detect: Detect,
    name: str,
    items: Iterable[LabelledImage],
    calibrations: Mapping[str, Calibration],
) -> TaskEvaluation:
    """Judge all test images of one task.

    Parameters
    ----------
    detect
        From frame to detection, routed or with the task given.
    name
        Task that the images belong to.
    items
        Its test images.
    calibrations
        Of every task of the bundle, for the scale of the maps.

    Raises
    ------
    ImageError
        An image cannot be read, its depth is missing or cannot be used, or a mask has another size
        than its image.
    """
    return summarise(*judge_task(detect, name, items, calibrations))


def judge_task(
    detect: Detect,
    name: str,
    items: Iterable[LabelledImage],
    calibrations: Mapping[str, Calibration],
) -> tuple[list[Outcome], PixelScores, int]:
    """Outcomes, pixels and number of masks, before they become figures; as `evaluate_task`."""
    tests = list(items)
    localised = any(item.mask is not None for item in tests)
    pixels, outcomes, masked = PixelScores(), [], 0
    for item in tests:
        views = [decode_image(path) for path in item.views]
        size = (views[0].shape[0], views[0].shape[1])
        found = _detected(detect, item, views)
        outcomes.append(outcome_of(found, name, item.anomalous))
        if not localised or (item.anomalous and item.mask is None):
            continue
        mask = None if item.mask is None else decode_mask(item.mask, size)
        masked += mask is not None
        scaled = scaled_map(found, calibrations, size)
        if scaled is not None:
            pixels.add(scaled, mask)
    return outcomes, pixels, masked


def _detected(detect: Detect, item: LabelledImage, views: list[Frame]) -> Detection:
    """Judge one test image; what is wrong with its depth is said with the image's name."""
    try:
        return detect(views if item.more else views[0], item.depth)
    except ImageError as problem:
        raise ImageError(f"{item.path}: {problem}") from None


def outcome_of(found: Detection, name: str, anomalous: bool) -> Outcome:
    """Reduce a detection of an image of task ``name`` to what is measured."""
    if found.verdict == UNKNOWN:
        return Outcome(anomalous, False, found.verdict, math.inf)
    if found.calibrated_score is None:
        raise ValueError(f"the detector judged a frame of {name} without giving a score")
    return Outcome(anomalous, found.task == name, found.verdict, found.calibrated_score)


def scaled_map(
    found: Detection, calibrations: Mapping[str, Calibration], size: tuple[int, int]
) -> npt.NDArray[np.float32] | None:
    """Map of one detection over its frame of ``size`` (height, width), comparable between tasks.

    Returns
    -------
    (height, width) float32, +inf everywhere for a refused frame; None without a map.
    """
    if found.verdict == UNKNOWN:
        return np.full(size, np.inf, dtype=np.float32)
    full = found.full_size_map()
    if full is None or found.task is None:
        return None
    calibration = calibrations[found.task]
    peaks = calibration.map_peaks or calibration.scores
    # `standardise` is affine, so two points of it give the whole map at once.
    offset = standardise(peaks, 0.0)
    slope = standardise(peaks, 1.0) - offset
    return (full * slope + offset).astype(np.float32)


def summarise(outcomes: list[Outcome], pixels: PixelScores, masked: int) -> TaskEvaluation:
    """Turn the outcomes of one task's test images into its figures."""
    labels = np.array([one.anomalous for one in outcomes], dtype=np.bool_)
    scores = np.array([one.score for one in outcomes], dtype=np.float64)
    good = [one for one in outcomes if not one.anomalous]
    bad = [one for one in outcomes if one.anomalous]
    localisation = pixels.measure()
    return TaskEvaluation(
        image_auroc=image_auroc(labels, scores),
        image_ap=image_ap(labels, scores),
        image_f1=verdict_f1(outcomes),
        pixel_auroc=localisation.auroc,
        pixel_ap=localisation.ap,
        aupro=localisation.aupro,
        routing_normal=share(one.routed for one in good),
        routing_defective=share(one.routed for one in bad),
        unknown_normal=share(one.verdict == UNKNOWN for one in good),
        unknown_defective=share(one.verdict == UNKNOWN for one in bad),
        false_reject_rate=share(one.verdict != "normal" for one in good),
        detection_rate=share(one.verdict != "normal" for one in bad),
        images_normal=len(good),
        images_defective=len(bad),
        images_with_mask=masked,
    )


def verdict_f1(outcomes: Iterable[Outcome]) -> float | None:
    """F1 of the verdicts, 2 TP / (2 TP + FP + FN); None without images of both classes."""
    rejected: dict[bool, list[bool]] = {True: [], False: []}
    for one in outcomes:
        rejected[one.anomalous].append(one.verdict != "normal")
    if not rejected[True] or not rejected[False]:
        return None
    found, false_rejects = sum(rejected[True]), sum(rejected[False])
    return 2 * found / (found + false_rejects + len(rejected[True]))


def share(flags: Iterable[bool]) -> float | None:
    """Share of true flags; None without any flag."""
    values = list(flags)
    return sum(values) / len(values) if values else None


def mean_of(tasks: Mapping[str, TaskEvaluation]) -> dict[str, float | None]:
    """Mean of every rate over the tasks in which it is defined."""
    return {rate: mean_defined([getattr(task, rate) for task in tasks.values()]) for rate in RATES}


def unknown_auroc(known: list[float], left_out: list[float]) -> float | None:
    """AUROC of telling a product never learned from the learned ones.

    Parameters
    ----------
    known
        How unknown each test image of the learned products looks, higher is stranger.
    left_out
        The same for the product that was left out.
    """
    labels = np.array([False] * len(known) + [True] * len(left_out))
    return image_auroc(labels, np.array([*known, *left_out], dtype=np.float64))
