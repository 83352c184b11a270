"""Judging a test set: routing, refused frames and maps of the wrong task."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cad_edge.calibration import Calibration
from cad_edge_benchmarks.evaluation import (
    Readers,
    enlarge,
    evaluate_task,
    mean_of,
    outcome_of,
    scaled_map,
    unknown_auroc,
)


@dataclass(frozen=True)
class Item:
    path: Path
    defect: str | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Found:
    task: str | None
    verdict: str
    calibrated_score: float | None = None
    anomaly_map: np.ndarray | None = None


def calibration(peaks):
    return Calibration(scheme="split", folds=1, scores=[0.0, 1.0], map_peaks=list(peaks))


CALIBRATIONS = {"nut": calibration([1.0, 3.0]), "bolt": calibration([10.0, 30.0])}
MASK = np.zeros((4, 4), bool)
MASK[0, :2] = True


def judged(answers, items):
    """Evaluate ``items`` as task nut; the frame read from a path is the answer's number."""
    readers = Readers(
        frame=lambda path: np.full((4, 4, 3), int(path.name), np.uint8), mask=lambda path: MASK
    )
    return evaluate_task(
        lambda frame: answers[int(frame[0, 0, 0])], "nut", items, CALIBRATIONS, readers
    )


def items(*defects, masks=True):
    return [
        Item(Path(str(n)), defect, Path("mask") if defect and masks else None)
        for n, defect in enumerate(defects)
    ]


def flat(value):
    return np.full((2, 2), value, np.float32)


def test_routing_and_rejects_are_shares_of_each_class():
    answers = [
        Found("nut", "normal", 0.0, flat(0)),
        Found("bolt", "normal", 0.1, flat(0)),
        Found("nut", "anomalous", 4.0, flat(0)),
        Found("nut", "unknown_product"),
        Found("nut", "anomalous", 5.0, flat(0)),
        Found("nut", "unknown_product"),
    ]
    result = judged(answers, items(None, None, None, None, "hole", "hole"))
    assert result.routing_normal == pytest.approx(2 / 4)
    assert result.routing_defective == pytest.approx(1 / 2)
    assert result.unknown_normal == pytest.approx(1 / 4)
    assert result.false_reject_rate == pytest.approx(2 / 4)
    assert result.detection_rate == 1.0
    # defective 5.0 beats three of four normals; refused ties with the refused normal
    assert result.image_auroc == pytest.approx((3 + 3.5) / 8)
    assert (result.images_normal, result.images_defective, result.images_with_mask) == (4, 2, 2)


def test_without_masks_localisation_is_undefined():
    answers = [Found("nut", "normal", 0.0, flat(0)), Found("nut", "anomalous", 1.0, flat(1))]
    result = judged(answers, items(None, "hole", masks=False))
    assert result.pixel_auroc is None
    assert result.aupro is None
    assert result.image_auroc == 1.0


def test_without_defective_images_auroc_is_undefined():
    result = judged([Found("nut", "normal", 0.0, flat(0))], items(None))
    assert result.image_auroc is None
    assert result.routing_defective is None
    assert result.routing_normal == 1.0


def test_maps_are_judged_at_the_size_of_the_mask():
    hot = np.array([[9.0, 1.0], [1.0, 1.0]], np.float32)
    answers = [Found("nut", "normal", 0.0, flat(0)), Found("nut", "anomalous", 1.0, hot)]
    result = judged(answers, items(None, "hole"))
    assert result.pixel_auroc > 0.9


def test_a_map_is_scaled_by_the_task_it_was_routed_to():
    right = scaled_map(Found("nut", "normal", 0.0, flat(4.0)), CALIBRATIONS, (2, 2))
    wrong = scaled_map(Found("bolt", "normal", 0.0, flat(4.0)), CALIBRATIONS, (2, 2))
    assert right == pytest.approx(np.full((2, 2), 2.0))
    assert wrong == pytest.approx(np.full((2, 2), -1.6))


def test_a_refused_frame_is_anomalous_everywhere():
    refused = Found("nut", "unknown_product")
    assert np.isposinf(scaled_map(refused, CALIBRATIONS, (3, 5))).all()
    assert outcome_of(refused, "nut", anomalous=False).score == math.inf


def test_a_frame_judged_without_a_score_is_an_error():
    with pytest.raises(ValueError, match="without giving a score"):
        outcome_of(Found("nut", "normal"), "nut", anomalous=False)


def test_enlarging_is_bilinear_between_pixel_centres():
    tall = enlarge(np.array([[0.0], [1.0]], np.float32), (4, 1))
    assert tall[:, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_means_leave_out_undefined_figures():
    both = {
        "a": judged([Found("nut", "normal", 0.0, flat(0))], items(None)),
        "b": judged(
            [Found("nut", "normal", 0.0, flat(0)), Found("nut", "anomalous", 1.0, flat(1))],
            items(None, "hole"),
        ),
    }
    mean = mean_of(both)
    assert mean["image_auroc"] == 1.0
    assert mean["routing_normal"] == 1.0
    assert "images_normal" not in mean


def test_unknown_products_are_ranked_by_strangeness():
    assert unknown_auroc([0.1, 0.2], [0.3, 0.15]) == pytest.approx(3 / 4)
    assert unknown_auroc([0.1], []) is None
