"""What a line would see: every test image routed on its own, then judged.

The headline is what the verdicts come to (`verdicts`): defects found and good parts rejected at the
stated rate. How well the scores rank and the maps localise stands beside it. Three rules make the
figures honest where routing and inspection meet.

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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cad_edge.calibration import Calibration, standardise
from cad_edge.data.image import Frame, decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.data.product import LabelledImage
from cad_edge.errors import ImageError
from cad_edge_benchmarks.instruments.metrics import image_ap, image_auroc, mean_defined
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_benchmarks.instruments.verdicts import (
    UNKNOWN,
    Outcome,
    Verdicts,
    judge_verdicts,
    share,
    verdict_f1,
)
from cad_edge_runtime.detection import Detection

Detect: TypeAlias = Callable[[Frame | list[Frame], Path | None], Detection]
"""From a frame, or all views of a part where there are several, and a file with its depth, if there
is one, to what is said of it."""


@dataclass(frozen=True)
class TaskEvaluation(Verdicts):
    """Figures of one task, those of the verdicts before all others; None where undefined.

    ``image_f1`` joins precision and recall of the verdicts: at the calibrated threshold, not at the
    best one for the test set.
    """

    stated_false_reject_rate: float
    image_auroc: float | None
    image_ap: float | None
    image_f1: float | None
    pixel_auroc: float | None
    pixel_ap: float | None
    aupro: float | None
    routing_normal: float | None
    routing_defective: float | None
    images_with_mask: int


RATES = tuple(
    one.name
    for one in fields(TaskEvaluation)
    if not one.name.startswith(("images_", "stated_")) and one.name != "false_reject_interval"
)
"""Fields of `TaskEvaluation` of which a mean over tasks is taken; an interval has none."""


def evaluate_task(
    detect: Detect,
    name: str,
    items: Iterable[LabelledImage],
    calibrations: Mapping[str, Calibration],
    rate: float,
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
    rate
        Stated false-reject rate of the task.

    Raises
    ------
    ImageError
        An image cannot be read, its depth is missing or cannot be used, or a mask has another size
        than its image.
    """
    return summarise(*judge_task(detect, name, items, calibrations), rate)


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


def summarise(
    outcomes: list[Outcome], pixels: PixelScores, masked: int, rate: float
) -> TaskEvaluation:
    """Turn the outcomes of one task's test images into its figures at the stated ``rate``."""
    labels = np.array([one.anomalous for one in outcomes], dtype=np.bool_)
    scores = np.array([one.score for one in outcomes], dtype=np.float64)
    localisation = pixels.measure()
    return TaskEvaluation(
        **vars(judge_verdicts(outcomes, rate)),
        stated_false_reject_rate=rate,
        image_auroc=image_auroc(labels, scores),
        image_ap=image_ap(labels, scores),
        image_f1=verdict_f1(outcomes),
        pixel_auroc=localisation.auroc,
        pixel_ap=localisation.ap,
        aupro=localisation.aupro,
        routing_normal=share(one.routed for one in outcomes if not one.anomalous),
        routing_defective=share(one.routed for one in outcomes if one.anomalous),
        images_with_mask=masked,
    )


def mean_of(tasks: Mapping[str, TaskEvaluation]) -> dict[str, float | None]:
    """Mean of every rate over the tasks in which it is defined.

    ``found_of_perfect`` is the ratio of the two means, over tasks that have both: a mean of ratios
    would be that of the tasks in which little can be found.
    """
    means = {rate: mean_defined([getattr(one, rate) for one in tasks.values()]) for rate in RATES}
    compared = [one for one in tasks.values() if one.detection_rate_perfect is not None]
    found = mean_defined([one.detection_rate for one in compared])
    perfect = means["detection_rate_perfect"]
    return means | {"found_of_perfect": found / perfect if found is not None and perfect else None}
