"""Targets, strengths and page of the comparison, from a made-up result."""

import copy
from dataclasses import asdict

import numpy as np
import pytest

from cad_edge_benchmarks.instruments.interleaved_timing import latency_of
from cad_edge_studies.peers.accuracy import FIGURES, bank_of, mean_figures
from cad_edge_studies.peers.report import best_routed, peer_strengths, peer_targets, peers_page

MEGABYTE = 1_000_000


def row(busy: float, rested: float | None = None) -> dict[str, object]:
    """Row whose medians are so many milliseconds."""
    times = [latency_of(np.full(5, ms * 1e6, np.int64)) for ms in (busy, rested or 2 * busy)]
    memory = {"rss": 3 * MEGABYTE, "pss": 2 * MEGABYTE, "uss": MEGABYTE}
    latencies = {"following": asdict(times[0]), "rested": asdict(times[1])}
    return {**latencies, "verdicts": {"normal": 10}, "map": [224, 224], "memory": memory}


def memory(uss: float) -> dict[str, float]:
    return {"rss": uss * MEGABYTE, "pss": uss * MEGABYTE, "uss": uss * MEGABYTE}


def figures(*values: float | None) -> dict[str, float | None]:
    return dict(zip(FIGURES, values, strict=True))


@pytest.fixture
def result():
    rows = {
        "cad-edge fp32, routed": row(2.0, 3.0),
        "cad-edge fp32, task given": row(1.8),
        "cad-edge int8, routed": row(1.5),
        "cad-edge int8, task given": row(1.0),
        "torch": row(20.0),
        "openvino": row(4.0),
        "openvino-f32": row(5.0),
        "openvino-int8": row(3.0),
        "onnxruntime": row(6.0),
    }
    ours = {"cookie": figures(0.9, 0.8, 0.7), "pcb": figures(0.8, 0.9, None)}
    theirs = {"cookie": figures(0.95, 0.7, 0.6), "pcb": figures(0.7, 0.8, None)}
    sides = {"cad_edge": ours, "patchcore": theirs, "larger": theirs}
    return {
        "latency": {"patchcore-1000": rows, "stfpm": {**rows, "openvino-int8": row(1.9, 9.0)}},
        "memory_of_ten": {
            "cad-edge": memory(100),
            "torch": memory(900),
            "openvino": memory(500),
            "openvino-f32": memory(490),
            "openvino-int8": memory(510),
            "onnxruntime": memory(90),
        },
        "imports": {"cad_edge": 0.2, "anomalib": 4.0},
        "start_seconds": {"cad-edge": 0.3, "torch": 5.0, "onnxruntime": 0.25},
        "file_bytes": {
            "cad-edge": {"fp32": 10 * MEGABYTE},
            "patchcore-1000": {"torch": 13 * MEGABYTE, "openvino-int8": 4 * MEGABYTE},
        },
        "accuracy": {
            **sides,
            "bank": 640,
            "larger_bank": 1000,
            "mean": {side: mean_figures(tasks) for side, tasks in sides.items()},
        },
        "machine": {
            "cpu": "Tester 9",
            "cores": 2,
            "instructions": ["avx2"],
            "system": "Linux",
            "load": 0.1,
        },
        "threads": 2,
        "rounds": 5,
        "seed": 0,
        "stream": "open categories",
        "products": 9,
        "image_size": [224, 224],
        "versions": {"onnxruntime": "1"},
        "peer_versions": {"anomalib": "2.7.0", "torch": "2.14.1"},
        "commit": "abc",
    }


def test_targets_by_hand(result):
    targets = peer_targets(result)
    assert [target.value for target in targets] == pytest.approx(
        [6 / 2, 5 / 2, 3 / 1.5, (0.9 + 0.8) / 2, 100 / 490, 0.2 / 4], abs=1e-4
    )
    assert [target.limit for target in targets] == [3.0, 2.5, 1.5, 0.825, 0.2, 0.1]
    missed = [target.what for target in targets if not target.reached]
    assert missed == ["unique memory, ten products; ten inferencers (openvino-f32)"]


def test_the_best_precision_is_the_fastest_and_never_a_given_task(result):
    rows = result["latency"]["patchcore-1000"]
    assert best_routed(rows) == "cad-edge int8, routed"
    slower = {**rows, "cad-edge int8, routed": row(2.5)}
    assert best_routed(slower) == "cad-edge fp32, routed"


def test_strengths_name_everything_in_which_the_peer_is_ahead(result):
    found = peer_strengths(result)
    assert found == [
        "image AUROC, PatchCore with 640 patches, in cookie (0.950 to 0.900).",
        "image AUROC, PatchCore with 1000 patches, in cookie (0.950 to 0.900).",
        "Latency of stfpm by openvino-int8, a busy line: 1.90 ms to 2.00 ms.",
        "Memory of ten products by onnxruntime: 90 MB.",
        "Start to first verdict by onnxruntime: 0.25 s to 0.30 s.",
        "File for one product by openvino-int8: 4.0 MB; a bundle of 9 products has 10.0 MB.",
    ]


def test_a_better_mean_comes_first(result):
    better = copy.deepcopy(result)
    better["accuracy"]["mean"]["larger"]["image_auroc"] = 0.99
    first = peer_strengths(better)[0]
    assert first == "Mean image AUROC, PatchCore with 1000 patches: 0.9900 to 0.8500."


def test_the_page_begins_with_what_the_peer_does_better(result):
    page = peers_page(result)
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings[:3] == [
        "# cad-edge beside anomalib 2.7.0",
        "## What anomalib does better",
        "## Must reach",
    ]
    assert "| openvino-f32 | 5.00 | 5.00 | 2.50 | 10.00 | 3.33 | 1 |" in page
    assert "| onnxruntime | 90 | 90 | 90 | 0.90 |" in page
    assert "| pcb | 0.800 | 0.700 | 0.700 | 0.900 | 0.800 | 0.800 | - | - | - |" in page
    assert "NOT reached" in page and "torch 2.14.1" in page and "random" not in page.split("##")[0]


def test_the_bank_by_hand():
    memories = [{"size": 256}, {"size": 128}, {"size": 256}]
    assert bank_of({"memories": memories}) == 640


def test_means_leave_out_what_is_undefined():
    tasks = {"a": figures(0.5, None, 0.2), "b": figures(0.7, None, None)}
    assert mean_figures(tasks) == figures(pytest.approx(0.6), None, 0.2)
