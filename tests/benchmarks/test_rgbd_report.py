"""Runs on the line with depth: which there are, and what their figures come to."""

import numpy as np
import pytest

from cad_edge_studies.rgbd_comparison.judging import Judged, Shown
from cad_edge_studies.rgbd_comparison.report import (
    false_reject_line,
    figures,
    old_false_rejects,
    rows,
    table,
    table_by_age,
    targets,
)
from cad_edge_studies.rgbd_comparison.task_sequence import (
    IUF_LIKE,
    JOINT,
    LEARNERS,
    LONGEST,
    MODALITIES,
    NAIVE,
    OURS,
    SEEDS,
    SETTINGS,
    Run,
    all_runs,
)


def judged(run: Run, auroc: float, drop: float = 0.0, rejects: float = 0.1) -> dict:
    """A run whose old products fall by ``drop`` in every further step."""
    steps = run.steps()
    names = [name for step in steps for name in step]
    matrix, known = [], 0
    introduced = [stage for stage, step in enumerate(steps) for _ in step]
    for stage, step in enumerate(steps):
        known += len(step)
        matrix.append(
            [
                auroc - drop * (stage - introduced[place]) if place < known else None
                for place in range(len(names))
            ]
        )
    last = {
        name: {
            "image_auroc": matrix[-1][place],
            "pixel_auroc": 0.9,
            "aupro": 0.5,
            "false_rejects": rejects,
            "false_rejects_stale": 4 * rejects,
        }
        for place, name in enumerate(names)
    }
    return {"matrix": matrix, "last": last}


def test_settings_hold_ten_products_each_once():
    for setting, counts in SETTINGS.items():
        names = [name for step in Run(OURS, setting, "rgbd", 0).steps() for name in step]
        assert len(names) == len(set(names)) == sum(counts) == 10


def test_every_setting_learner_and_modality_has_its_runs():
    runs = list(all_runs())
    assert len({run.name for run in runs}) == len(runs)
    for setting in SETTINGS:
        for modality in MODALITIES:
            assert {run.seed for run in runs if (run.setting, run.modality) == (setting, modality)}
    for learner in (OURS, IUF_LIKE, NAIVE):
        assert {run.seed for run in runs if run.learner == learner and run.setting == LONGEST} == {
            *SEEDS
        }
    assert Run(IUF_LIKE, LONGEST, "rgbd", 2).options == {
        "modality": "rgbd",
        "regulariser": "false",
        "fusion": "addition",
        "bottleneck": "false",
    }


def test_figures_of_a_run_by_hand():
    run = Run(OURS, "6-4", "rgbd", 0)
    found = figures(judged(run, 0.9, drop=0.05))
    # Six products fell from 90 to 85, four stand at 90.
    assert found["image_auroc"] == pytest.approx((6 * 85 + 4 * 90) / 10)
    assert (found["old"], found["new"]) == (pytest.approx(85), pytest.approx(90))
    assert found["fm"] == pytest.approx(5)
    assert figures(judged(Run(OURS, JOINT, "rgbd", 0), 0.9))["fm"] is None
    assert old_false_rejects(judged(run, 0.9, rejects=0.2), run.steps(), "false_rejects") == (
        pytest.approx(0.2)
    )


def results() -> dict:
    found = {}
    for seed in SEEDS:
        for run, one in (
            (Run(OURS, LONGEST, "rgbd", seed), (0.9, 0.01)),
            (Run(IUF_LIKE, LONGEST, "rgbd", seed), (0.9, 0.04)),
            (Run(OURS, JOINT, "rgbd", seed), (0.95, 0.0)),
            (Run(OURS, JOINT, "rgb", seed), (0.9, 0.0)),
            (Run(OURS, JOINT, "depth", seed), (0.92, 0.0)),
        ):
            found[run.name] = judged(run, *one)
    return found


def test_targets_by_hand():
    above, forgets, both, rejects = targets(results())
    # Six products fall four times, the next ones three times, and so on: 30 falls of 10 products.
    assert above.value == pytest.approx(100 * 0.03 * 30 / 10) and above.reached
    assert forgets.value == pytest.approx(0.25) and forgets.reached
    assert both.value == pytest.approx(3) and both.reached
    assert rejects.value == pytest.approx(1) and rejects.reached
    assert "10.0% with thresholds made anew, 40.0%" in false_reject_line(results())


def test_a_target_that_lacks_a_seed_has_no_value():
    held = {name: one for name, one in results().items() if not name.endswith("_2")}
    assert [target.value for target in targets(held)] == [None] * 4
    assert false_reject_line(held).endswith("not measured")


def test_table_has_a_row_for_what_was_run():
    text = table(rows(results()))
    assert len(text.splitlines()) == 2 + 5
    assert "| 10-0 | IB-IUMAD | depth | 92.0 ± 0.0 | 90.0 ± 0.0 | 50.0 ± 0.0 | - | 3 |" in text
    assert len(LEARNERS) == 3
    by_age = table_by_age(rows(results())).splitlines()
    # Six fell four times, the next ones three times, and so on: 30 falls of nine. Joint has no age.
    assert by_age[2:] == [
        "| 6-1x4 | IB-IUMAD | rgbd | 86.7 ± 0.0 | 90.0 ± 0.0 |",
        "| 6-1x4 | IUF-like | rgbd | 76.7 ± 0.0 | 90.0 ± 0.0 |",
    ]


def test_false_rejects_count_good_parts_alone():
    scores = np.array([1.0, 3.0, 9.0, 9.0])
    shown = Shown(None, np.array([False, False, False, True]), [None] * 4)
    assert Judged(scores, np.zeros((4, 2, 2), np.float32)).false_rejects(shown, 2.0) == (
        pytest.approx(2 / 3)
    )
