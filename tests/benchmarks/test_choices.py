"""Choosing by categories that are not reported on, and thresholds from few good parts."""

import numpy as np
import pytest

pytest.importorskip("torch")

from cad_edge_studies.choices.__main__ import (
    Scores,
    Setting,
    choose_settings,
    figures_of,
    score,
    table_of,
    thresholds_of_few,
)
from cad_edge_studies.choices.category_evidence import Category
from cad_edge_training.backbones import load_backbone
from tests.training.small_products import write_stream


def figures(rate: float) -> dict[str, float]:
    return {"image_auroc": rate, "detection_rate": rate, "detection_rate_perfect": rate}


def test_a_category_has_no_say_in_the_setting_that_it_is_reported_with():
    """Setting b is best on every mean, but only because of the category x itself."""
    of = {
        "a": {"x": figures(0.5), "y": figures(0.8), "z": figures(0.8)},
        "b": {"x": figures(1.0), "y": figures(0.7), "z": figures(0.7)},
    }
    assert choose_settings(of) == {"x": "a", "y": "b", "z": "b"}
    head, rows = table_of(of, choose_settings(of))
    assert head[:2] == ["setting", "image auroc"]
    assert rows[-1][:2] == ["chosen on the other categories", "0.633"]
    assert [row[-1] for row in rows] == ["1", "2", ""]


def test_figures_by_hand():
    """Of 39 held-out scores the 38th is the threshold at 5 %: 19."""
    scores = Scores(
        held_out=np.arange(1.0, 40.0) / 2,
        good=np.array([1.0, 5.0, 18.0, 25.0]),
        defective=np.array([17.0, 19.5, 30.0, 40.0]),
    )
    found = figures_of(scores, 0.05)
    # 16 pairs, of which the good 18 is above one defect and the good 25 above two.
    assert found["image_auroc"] == pytest.approx(13 / 16)
    assert (found["detection_rate"], found["false_reject_rate"]) == (0.75, 0.25)
    assert found["detection_rate_perfect"] == 0.5  # none of four may be rejected: above 25


def test_thresholds_from_few_scores_are_compared_at_both_rates(rng):
    scores = {"a": Scores(rng.normal(size=120), rng.normal(size=200), rng.normal(3, 1, 100))}
    rows = thresholds_of_few(scores)
    assert len(rows) == 2 * 5 * 2
    few = [row for row in rows if row["stated"] == 0.02 and row["good parts"] == 15]
    order, decided = (row["false rejects"] for row in few)
    assert decided < order  # the largest of 15 rejects 6 %, the tail less


def test_scores_of_a_setting_are_those_of_images_that_were_not_learned(tmp_path):
    stream = write_stream(tmp_path, ("checks",))
    category = Category(stream.tasks[0], load_backbone("efficientnet-lite0", 64), 0.1)
    default = score(Setting(banks=("7+10x16", "4x16")), category)
    assert default.held_out.shape == (10,)
    assert len(default.good) + len(default.defective) == len(category.defective)
    local = score(Setting(banks=("7+10x16", "4x16"), statistics=()), category)
    assert (default.held_out >= local.held_out - 1e-6).mean() > 0.5
