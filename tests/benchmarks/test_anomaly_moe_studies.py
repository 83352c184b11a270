"""Studies of AnomalyMoE: ablations laid side by side, and the full size at a tiny one."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from cad_edge.store.artifact import list_artifacts, read_record
from cad_edge_studies.anomaly_moe_ablations.__main__ import (
    level_gates,
    must_reach,
    rows_of,
    smallest_gate,
    table,
)
from cad_edge_studies.anomaly_moe_full_size.__main__ import build, measure, size_targets
from tests.training.small_products import NAMES, learn, stream_of, write_stream

OPTIONS = {"channels": "16", "rank": "4", "components": "3"}
FIGURES = ("detection_rate", "false_reject_rate", "image_auroc", "pixel_auroc")


def test_gates_of_a_level_are_added_up():
    gates = np.array([0.25, 0.0, 0.5, 0.125, 0.0, 0.125], np.float32)
    assert level_gates(gates) == [0.25, 0.625, 0.125]
    levels = ("patch", "component", "global")
    by_product = {
        "cookie": dict(zip(levels, (0.25, 0.625, 0.125), strict=True)),
        "juice": dict(zip(levels, (0.0, 0.5, 0.5), strict=True)),
    }
    assert smallest_gate(by_product) == 0.0625, "of each product the smallest, then their mean"
    (target,) = must_reach({"drawn": {"comparable losses": {"gates": by_product}}})
    assert target.reached is False and target.value == 0.0625
    assert must_reach({"fitted": {"all levels": {"gates": by_product}}}) == []


def test_learners_of_a_study_stand_beside_each_other(tmp_path):
    write_stream(tmp_path / "images", NAMES[:1])
    run = tmp_path / "fitted" / "runs" / "given-seed-0"
    learners = {"all levels": {}, "patch and global": {"levels": "patch,global"}}
    for name, own in learners.items():
        place = run / name.replace(" ", "-") / "learned"
        stream = stream_of(tmp_path / "images", NAMES[:1])
        learn(stream, place, {**OPTIONS, **own}, method="anomaly_moe")
    summary = {name: {"mean": 0.5, "deviation": None, "runs": 1} for name in FIGURES}
    report = {"learners": {name: {"summary": summary} for name in learners}}
    (tmp_path / "fitted" / "protocol.json").write_text(json.dumps(report))
    rows = rows_of(tmp_path / "fitted")
    every, two = (rows[name]["gates"][NAMES[0]] for name in learners)
    assert sum(every.values()) == pytest.approx(1) == pytest.approx(sum(two.values()))
    assert two["component"] == 0 and rows["all levels"]["image_auroc"] == 0.5
    assert "patch and global" in table(rows)


@pytest.mark.slow
def test_the_full_size_is_measured_at_a_tiny_one(tmp_path):
    encoder = {"hidden_size": 32, "num_hidden_layers": 10, "num_attention_heads": 2}
    options = {"experts": 1, "width": 16, "depth": 1, "heads": 2}
    bundle = build(tmp_path, encoder, 70, options)
    (artifact,) = list_artifacts(tmp_path / "artifacts")
    record = read_record(artifact)
    assert record.method == "anomaly_moe" and record.recipe.width == 70
    assert record.hyperparameters["start"] == "drawn" and record.hyperparameters["steps"] == 2
    found = measure(bundle, tmp_path, 1, 0.05)
    assert found["resident_bytes"] > found["encoder_resident_bytes"] > 10_000_000
    time, memory = size_targets(found)
    assert time.value > 1 and 0 < memory.value < 300
