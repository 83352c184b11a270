"""The latency report, from a made-up result."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from cad_edge_benchmarks.instruments.interleaved_timing import latency_of, ratio_of
from cad_edge_studies.latency.report import latency_targets, print_report

TIMES = np.arange(1, 21, dtype=np.int64) * 1_000_000


@pytest.fixture
def result():
    latency, ratio = asdict(latency_of(TIMES)), asdict(ratio_of(TIMES * 3, TIMES * 2))
    return {
        "machine": {"cpu": "Tester 9"},
        "threads": 2,
        "turns": {"routed": latency, "given": latency, "trunk": latency, "routed_to_trunk": ratio},
        "many_tasks": {
            "tasks": 100,
            "open_seconds": 0.5,
            "three": latency,
            "many": latency,
            "many_to_three": asdict(ratio_of(TIMES, TIMES)),
            "ram_bytes_per_further_task": 900_000.0,
            "disk_bytes_per_further_task": 1_100_000.0,
        },
        "pick_up": {"visible_ms": [20.0, 210.0], "lost": 0, "wrong": 1},
        "start": {"seconds": 0.7, "rss": 107_000_000, "torch": False},
    }


def test_targets_read_the_result(result):
    missed = {target.what for target in latency_targets(result) if not target.reached}
    assert missed == {
        "routed frame against bare trunk, median ratio",
        "disk per further task",
        "new task visible, slowest",
        "frames wrong at pick-up",
    }


def test_targets_of_the_accuracy_result_stand_beside_them(result, tmp_path, capsys):
    kept = {"what": "mean image AUROC", "bound": "at least", "limit": 0.92, "value": 0.9}
    accuracy = tmp_path / "accuracy.json"
    accuracy.write_text(json.dumps({"must_reach": [{**kept, "unit": ""}]}))
    print_report(result, accuracy)
    printed = capsys.readouterr().out
    assert "1.500 (quartiles 1.500 to 1.500, 20 rounds" in printed
    assert any(
        line.startswith("mean image AUROC") and line.endswith("NOT reached")
        for line in printed.splitlines()
    )


def test_without_an_accuracy_result_its_targets_are_left_out(result, tmp_path, capsys):
    print_report(result, tmp_path / "none.json")
    assert "AUROC" not in capsys.readouterr().out
