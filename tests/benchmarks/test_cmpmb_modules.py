"""The study of CMPMB's modules: its learners, their differences, and CLIP folders it cannot use."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("transformers")

from cad_edge_benchmarks.protocol.study import read_study
from cad_edge_studies.cmpmb_modules.__main__ import (
    PUBLISHED,
    forgetting,
    rows_of,
    separable,
    table,
)
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.train import TrainingPlan, read_config
from tests.house.refusals import sentence
from tests.training.test_regions import save_sam
from tests.training.tiny_models import save_clip

STUDY = (
    Path(__file__).parents[2] / "benchmarks/studies/cad_edge_studies/cmpmb_modules" / "study.yaml"
)


def runs(*found: float) -> dict[str, object]:
    """Runs whose AUROC is half of what they find."""
    return {
        "runs": [
            {
                "all_parts": {"detection_rate": one, "false_reject_rate": 0.05},
                "continual": {
                    "image_auroc": {"a_auroc": one / 2},
                    "pixel_auroc": {"a_auroc": None},
                },
            }
            for one in found
        ]
    }


def test_differences_are_taken_run_by_run():
    learners = {PUBLISHED: runs(0.2, 0.6), "block 3": runs(0.3, 0.8), "alpha 0": runs(0.1, 0.6)}
    rows = rows_of({"learners": learners})
    assert "differs_by" not in rows[PUBLISHED]
    assert rows[PUBLISHED]["detection_rate"]["mean"] == pytest.approx(0.4)
    more = rows["block 3"]["differs_by"]
    assert more["detection_rate"]["mean"] == pytest.approx(0.15)
    assert more["detection_rate"]["deviation"] == pytest.approx(0.1 / 2**0.5)
    assert more["image_auroc"]["mean"] == pytest.approx(0.075)
    assert more["pixel_auroc"]["mean"] is None
    assert separable(more["detection_rate"])
    assert not separable(rows["alpha 0"]["differs_by"]["detection_rate"])
    shown = table(rows)
    assert "+0.150 ± 0.071 *" in shown and "-0.050 ± 0.071" in shown
    once = rows_of({"learners": {PUBLISHED: runs(0.2), "b": runs(0.9)}})["b"]["differs_by"]
    assert not separable(once["detection_rate"]), "one seed has no deviation"


def test_forgetting_is_that_of_the_only_learner():
    summary = {"fm": {"mean": 0.01}, "pixel_fm": {"mean": 0.0}, "bwt": {"mean": -0.01}}
    found = forgetting({"learners": {"cad-edge": {"summary": summary}}})
    assert found == {"fm": {"mean": 0.01}, "pixel_fm": {"mean": 0.0}}


def test_learners_change_one_thing_but_for_modules_left_out_together():
    study = read_study(STUDY)
    assert study is not None and "backbone" not in study.model_fields_set
    published = Config().model_dump()
    changed = {}
    for name, entry in study.learners.items():
        plan = TrainingPlan("cmpmb", "clip:folder", None, entry.options, 0)
        own = read_config(plan).model_dump()
        changed[name] = {option for option, value in own.items() if value != published[option]}
    together = {
        "without ANM, text branch and DFS": {"text", "normalisation"},
        "visual prompts as drawn": {"epochs", "learning_rate"},
    }
    assert changed.pop(PUBLISHED) == set()
    assert {name: changed.pop(name) for name in together} == together
    assert all(len(options) == 1 for options in changed.values())


@pytest.mark.parametrize("kind", ["sam", "another shape"])
def test_a_folder_of_another_architecture(tmp_path, kind):
    for task in yaml.safe_load((STUDY.parent / "stream.yaml").read_text())["tasks"]:
        (tmp_path / "data" / task["path"]).mkdir(parents=True)
    folder = tmp_path / "model"
    if kind == "sam":
        save_sam(folder)
        said = f"{folder} holds a sam model; give one of type clip"
    else:
        config = save_clip(folder) / "config.json"
        config.write_text(config.read_text().replace('"projection_dim": 24', '"projection_dim": 8'))
        said = f"{folder} holds weights of another architecture: "
    words = ("--data", tmp_path / "data", "--backbone", f"clip:{folder}", "--out", tmp_path / "out")
    refused = sentence("protocol", "--stream", STUDY, *words)
    assert said in refused and "study.yaml, learner CMPMB" in refused
    assert not (tmp_path / "out").exists()
