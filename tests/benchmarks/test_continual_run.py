"""A continual run on the golden bundle, with a stand-in for the exporter."""

import pytest

from cad_edge.data.stream import read_stream
from cad_edge_benchmarks.instruments.proportion import clopper_pearson
from cad_edge_studies import learned_stream
from cad_edge_studies.accuracy import continual_run
from cad_edge_studies.accuracy.__main__ import measure
from cad_edge_studies.accuracy.continual_run import ContinualRun
from cad_edge_studies.accuracy.targets import accuracy_targets
from cad_edge_studies.learned_stream import LearnedStream


@pytest.fixture
def learned(stream_file, artifacts, tmp_path, export_golden, monkeypatch):
    monkeypatch.setattr(learned_stream, "export", export_golden)
    monkeypatch.setattr(continual_run, "_PROBES", 1)
    place = tmp_path / "place"
    place.mkdir()
    return LearnedStream(read_stream(stream_file), artifacts, place, threads=1)


def test_every_stage_is_measured(learned):
    stages = ContinualRun(learned).run_stages()
    assert stages.forgetting == {"tasks": 3, "images": 12, "changed_images": 0}
    assert [len(row) for row in stages.matrix["matrix"]] == [1, 2, 3]
    assert stages.matrix["a_auroc"] == 1.0
    assert stages.given_auroc == {"red": 1.0, "green": 1.0, "blue": 1.0}
    assert len(stages.ram_bytes) == 3
    assert set(stages.disk_bytes) == {"red", "green", "blue"}


def test_a_stream_is_measured_whole(learned, capsys):
    result = measure(learned, seed=0)
    assert set(result["tasks"]) == {"red", "green", "blue"}
    assert result["mean"]["image_auroc"] == 1.0
    assert result["mean"]["seconds"] > 0
    assert result["forgetting"]["fused"]["changed_images"] == 0
    assert result["headline"].startswith("Finds 6 of 6 defects (100.0 %) at a stated false-reject ")
    assert result["tasks"]["red"]["detection_rate_perfect"] == 1.0
    assert result["all_parts"]["false_reject_interval"] == clopper_pearson(0, 6)
    assert result["mean_rgb"] == {
        name: value for name, value in result["mean"].items() if name in result["mean_rgb"]
    }
    assert result["with_depth"] == []
    assert {target.what for target in accuracy_targets(result)} >= {"mean image AUROC, routed"}
