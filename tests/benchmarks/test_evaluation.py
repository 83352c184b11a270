"""Judging a test set: routing, refused frames and maps of the wrong task."""

import math

import numpy as np
import pytest
from PIL import Image

from cad_edge.calibration import Calibration
from cad_edge.data.product import LabelledImage
from cad_edge_benchmarks.instruments.evaluation import (
    evaluate_task,
    mean_of,
    outcome_of,
    scaled_map,
)
from cad_edge_benchmarks.instruments.proportion import clopper_pearson
from cad_edge_runtime.detection import Detection, Timings


def found(task, verdict, calibrated_score=None, anomaly_map=None):
    return Detection(
        task=None if verdict == "unknown_product" else task,
        similarity=0.9,
        nearest=task,
        runner_up=None,
        verdict=verdict,
        score=calibrated_score,
        probability=None,
        calibrated_score=calibrated_score,
        p_value=0.5,
        threshold=1.0,
        false_reject_supported=True,
        depth_used=False,
        anomaly_map=anomaly_map,
        defects=(),
        size=(16, 16),
        version=1,
        timings=Timings(0, 0, 0, 0),
    )


def calibration(peaks):
    return Calibration(scheme="split", folds=1, scores=[0.0, 1.0], map_peaks=list(peaks))


CALIBRATIONS = {"nut": calibration([1.0, 3.0]), "bolt": calibration([10.0, 30.0])}


def judged(folder, answers, *defects, masks=True):
    """Evaluate images of task nut; the grey level of the n-th one asks for the n-th answer."""
    mask = np.zeros((16, 16), np.uint8)
    mask[0:4, 0:8] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    items = []
    for n, defect in enumerate(defects):
        path = folder / f"{n}.png"
        Image.fromarray(np.full((16, 16), n, np.uint8)).save(path)
        items.append(LabelledImage(path, defect, folder / "mask.png" if defect and masks else None))
    return evaluate_task(lambda frame, _: answers[frame[0, 0, 0]], "nut", items, CALIBRATIONS, 0.25)


def flat(value):
    return np.full((2, 2), value, np.float32)


def test_routing_and_rejects_are_shares_of_each_class(tmp_path):
    answers = [
        found("nut", "normal", 0.0, flat(0)),
        found("bolt", "normal", 0.1, flat(0)),
        found("nut", "anomalous", 4.0, flat(0)),
        found("nut", "unknown_product"),
        found("nut", "anomalous", 5.0, flat(0)),
        found("nut", "unknown_product"),
    ]
    result = judged(tmp_path, answers, *[None] * 4, "hole", "hole")
    assert result.routing_normal == pytest.approx(2 / 4)
    assert result.routing_defective == pytest.approx(1 / 2)
    assert result.unknown_normal == pytest.approx(1 / 4)
    assert result.false_reject_rate == pytest.approx(2 / 4)
    assert result.false_reject_interval == clopper_pearson(2, 4)
    assert result.detection_rate == 1.0
    # one of four good ones may be rejected, which is the refused one; both defects lie above 4
    assert result.detection_rate_perfect == 1.0
    assert (result.lost_by_calibration, result.found_of_perfect) == (0.0, 1.0)
    assert result.stated_false_reject_rate == 0.25
    # defective 5.0 beats three of four normals; refused ties with the refused normal
    assert result.image_auroc == pytest.approx((3 + 3.5) / 8)
    assert (result.images_normal, result.images_defective, result.images_with_mask) == (4, 2, 2)


def test_without_masks_localisation_is_undefined(tmp_path):
    answers = [found("nut", "normal", 0.0, flat(0)), found("nut", "anomalous", 1.0, flat(1))]
    result = judged(tmp_path, answers, None, "hole", masks=False)
    assert result.pixel_auroc is None
    assert result.aupro is None
    assert result.image_auroc == 1.0


def test_without_defective_images_auroc_is_undefined(tmp_path):
    result = judged(tmp_path, [found("nut", "normal", 0.0, flat(0))], None)
    assert result.image_auroc is None
    assert result.routing_defective is None
    assert result.routing_normal == 1.0


def test_maps_are_judged_at_the_size_of_the_mask(tmp_path):
    hot = np.array([[9.0, 1.0], [1.0, 1.0]], np.float32)
    answers = [found("nut", "normal", 0.0, flat(0)), found("nut", "anomalous", 1.0, hot)]
    result = judged(tmp_path, answers, None, "hole")
    assert result.pixel_auroc > 0.9


def test_a_map_is_scaled_by_the_task_it_was_routed_to():
    right = scaled_map(found("nut", "normal", 0.0, flat(4.0)), CALIBRATIONS, (16, 16))
    wrong = scaled_map(found("bolt", "normal", 0.0, flat(4.0)), CALIBRATIONS, (16, 16))
    assert right == pytest.approx(np.full((16, 16), 2.0))
    assert wrong == pytest.approx(np.full((16, 16), -1.6))


def test_a_refused_frame_is_anomalous_everywhere():
    refused = found("nut", "unknown_product")
    assert np.isposinf(scaled_map(refused, CALIBRATIONS, (3, 5))).all()
    assert outcome_of(refused, "nut", anomalous=False).score == math.inf


def test_a_frame_judged_without_a_score_is_an_error():
    with pytest.raises(ValueError, match="without giving a score"):
        outcome_of(found("nut", "normal"), "nut", anomalous=False)


def test_means_leave_out_undefined_figures(tmp_path):
    both = {
        "a": judged(tmp_path, [found("nut", "normal", 0.0, flat(0))], None),
        "b": judged(
            tmp_path,
            [found("nut", "normal", 0.0, flat(0)), found("nut", "anomalous", 1.0, flat(1))],
            None,
            "hole",
        ),
    }
    mean = mean_of(both)
    assert mean["image_auroc"] == 1.0
    assert mean["routing_normal"] == 1.0
    assert "images_normal" not in mean and "false_reject_interval" not in mean


def test_the_mean_of_found_of_perfect_is_the_ratio_of_means(tmp_path):
    """One product finds 1 of 2 where 2 could be found, another 2 of 2: (0.5 + 1) / (1 + 1)."""
    good, low, high = (
        found("nut", "normal", 0.0),
        found("nut", "normal", 1.0),
        found("nut", "anomalous", 2.0),
    )
    tasks = {
        "half": judged(tmp_path, [good, low, high], None, "hole", "hole", masks=False),
        "all": judged(tmp_path, [good, high, high], None, "hole", "hole", masks=False),
        "no good": judged(tmp_path, [low], "hole", masks=False),
    }
    assert [task.found_of_perfect for task in tasks.values()] == [0.5, 1.0, None]
    mean = mean_of(tasks)
    assert mean["found_of_perfect"] == pytest.approx(1.5 / 2)
    assert mean["detection_rate"] == pytest.approx(1.5 / 3)
    assert mean["lost_by_calibration"] == pytest.approx(0.5 / 2)
    assert mean_of({})["found_of_perfect"] is None
