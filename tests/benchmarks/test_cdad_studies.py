"""Studies of CDAD: learners of a stream laid side by side, and what decompositions take."""

import json
from statistics import stdev

import pytest

pytest.importorskip("torch")

from cad_edge_benchmarks.protocol.summary import spread
from cad_edge_studies.cdad_decomposition.__main__ import measure
from cad_edge_studies.cdad_streams.__main__ import (
    curves_of,
    draw,
    must_reach,
    points_of,
    pooled,
    rows_of,
    table,
    together,
    when_learned,
)

FIGURES = ("detection_rate", "false_reject_rate", "a_auroc", "fm", "pixel_auroc", "pixel_fm")
MATRIX = [[0.9, None, None], [0.8, 0.7, 0.6]]


def a_run() -> dict[str, object]:
    """One product, then two in one step."""
    rejected = {"a": 0.02, "b": 0.3, "c": 0.4}
    evaluations = {name: {"false_reject_rate": rate} for name, rate in rejected.items()}
    return {
        "steps": [["a"], ["b", "c"]],
        "tasks": ["a", "b", "c"],
        "continual": {"image_auroc": {"matrix": MATRIX}},
        "results": [{"measurement": {"evaluations": evaluations}}],
    }


def written(folder, learners: dict[str, float]):
    """A report in which every figure of a learner is one number."""
    report = {
        name: {
            "summary": {one: {"mean": value, "deviation": 0.01, "runs": 3} for one in FIGURES},
            "runs": [a_run(), a_run()],
        }
        for name, value in learners.items()
    }
    folder.mkdir(exist_ok=True)
    (folder / "protocol.json").write_text(json.dumps({"learners": report}))
    return rows_of(folder)


def test_what_a_product_gets_is_read_at_its_own_step():
    assert when_learned(a_run()) == {"a": 0.9, "b": 0.7, "c": 0.6}


def test_rows_have_new_products_and_old_false_rejects(tmp_path):
    row = written(tmp_path, {"CDAD": 0.5})["CDAD"]
    assert row["when_learned"]["mean"] == pytest.approx(2.2 / 3)
    assert row["later_when_learned"] == {"mean": pytest.approx(0.65), "deviation": 0.0, "runs": 2}
    assert row["worst_old_false_reject_rate"] == 0.02
    assert table({"CDAD": row}).splitlines()[-1].split()[:4] == ["CDAD", "0.500", "±", "0.010"]


def test_two_samples_are_one():
    """1, 2, 3 and 7, 9: mean 4.4, deviation of all five."""
    values = [[1.0, 2.0, 3.0], [7.0, 9.0]]
    found = pooled(*(vars(spread(one)) for one in values))
    assert found == {
        "mean": pytest.approx(4.4),
        "deviation": pytest.approx(stdev([*values[0], *values[1]])),
        "runs": 5,
    }
    nothing = {"mean": None, "deviation": None, "runs": 0}
    assert pooled(nothing, nothing) == nothing
    assert pooled(nothing, {"mean": 2.0, "deviation": None, "runs": 1})["mean"] == 2


def test_runs_of_a_learner_in_several_folders_are_joined(tmp_path):
    one, other = (written(tmp_path / f"{k}", {"CDAD": k / 10, f"o{k}": 1}) for k in (4, 6))
    rows = together([one, other])
    assert set(rows) == {"CDAD", "o4", "o6"}
    assert rows["CDAD"]["fm"]["mean"] == pytest.approx(0.5)
    assert rows["CDAD"]["fm"]["runs"] == 6 and len(rows["CDAD"]["by_product"]) == 4
    assert rows["CDAD"]["worst_old_false_reject_rate"] == 0.02


def test_targets_compare_learners(tmp_path):
    rows = written(tmp_path, {"CDAD": 0.92, "free updates": 0.915, "iSVD as published": 0.5})
    found = {target.what: target for target in must_reach(rows)}
    assert found["A-AUROC after the last product"].reached
    assert found["above free updates"].reached is False, "within one deviation"
    assert found["above iSVD as printed"].value == pytest.approx(0.42)
    assert found["all products together, image AUROC"].value is None
    assert all(target.reached is None for target in must_reach({}))


def test_learners_named_after_a_value_are_points_of_a_curve(tmp_path):
    rows = written(tmp_path, {"CDAD": 0.9, "energy 0.95": 0.2, "energy 0.85": 0.3, "weight 1": 0.1})
    curves = curves_of(rows)
    assert curves == {
        "energy": [("0.85", 0.3, pytest.approx(0.65)), ("0.95", 0.2, pytest.approx(0.65))],
        "weight": [("1", 0.1, pytest.approx(0.65))],
    }
    singles = points_of(rows)
    assert singles == [("CDAD", 0.9, pytest.approx(0.65))]
    drawn = draw(curves, singles)
    assert all(
        text in drawn for text in (">energy<", ">0.85<", ">weight<", ">CDAD<", "forgetting (FM")
    )


@pytest.mark.slow
def test_decompositions_are_measured_in_processes_of_their_own():
    found = measure("isvd", 2, 1, images=2)
    assert found["bases"] == "isvd" and found["blocks"] == 2
    assert found["seconds"] > 0 and found["bytes"] > 0 and 0 < found["share"] < 1
