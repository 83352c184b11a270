"""The golden bundle, measured: evaluation, forgetting, a product left out, pick-up, start."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from cad_edge.cli import main
from cad_edge.data.image import decode_image
from cad_edge.data.stream import read_stream
from cad_edge.errors import CadEdgeError
from cad_edge_benchmarks.evaluate.command import evaluate
from cad_edge_benchmarks.instruments.probe import probe
from cad_edge_runtime import Detector
from cad_edge_studies.accuracy.forgetting import compare, given_answers
from cad_edge_studies.open_set import frames_of, measure_left_out, predict, routed_auroc

CONTRACT = {
    "detection_rate",
    "false_reject_rate",
    "detection_rate_perfect",
    "lost_by_calibration",
    "found_of_perfect",
    "unknown_normal",
    "unknown_defective",
    "image_auroc",
    "pixel_auroc",
    "pixel_ap",
    "aupro",
    "routing_normal",
    "routing_defective",
}


def test_evaluate_writes_the_contract(golden, stream_file, tmp_path):
    out = tmp_path / "out" / "figures.json"
    words = ["evaluate", str(golden), "--stream", str(stream_file), "--out", str(out)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text())
    assert list(written["tasks"]) == ["red", "green", "blue"]
    assert set(written["mean"]) >= CONTRACT
    for task in written["tasks"].values():
        assert set(task) >= CONTRACT
        assert (task["image_auroc"], task["routing_normal"]) == (1.0, 1.0)
    assert written["tasks"]["red"]["pixel_auroc"] > 0.95
    assert written["tasks"]["blue"]["pixel_auroc"] is None
    assert written["mean"]["aupro"] > 0.8
    assert written["all_parts"]["false_reject_interval"] == [0.0, pytest.approx(0.4593, abs=5e-5)]
    assert written["headline"] == (
        "Finds 6 of 6 defects (100.0 %) at a stated false-reject rate of 5 %; rejects 0 of 6 good "
        "parts (0.0 %, 95 % interval 0.0 to 45.9 %)."
    )
    lines = done.stdout.splitlines()
    assert " ".join(lines[:2]) == written["headline"]
    assert lines[3].startswith("With perfect thresholds at that rate the same scores would find 6")
    verdicts, scores = (line for line in lines if line.startswith("task "))
    assert verdicts.split()[1:5] == ["defects", "found", "false", "rejects"]
    assert scores.split()[1:3] == ["image", "AUROC"]
    assert lines[-1].startswith("mean ")


def test_evaluate_writes_markdown_and_a_page_into_a_folder(golden, stream_file, tmp_path):
    words = ["evaluate", str(golden), "--stream", str(stream_file), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == [
        f"evaluate.{kind}" for kind in ("html", "json", "md")
    ]
    page, record, text = (path.read_text() for path in written)
    headline = json.loads(record)["headline"]
    assert headline in page and f"**{headline}**" in text
    for name in ("red", "green", "blue", "all parts", "mean"):
        assert f"<td>{name}</td>" in page and f"| {name} |" in text


def test_evaluate_states_the_rate_that_the_bundle_has(golden, stream_file, tmp_path):
    """As `cad-edge threshold` left it, and not the one in the stream file."""
    words = ["threshold", str(golden), "--task", "red", "--false-reject-rate", "0.5"]
    assert CliRunner().invoke(main, words).exit_code == 0
    out = tmp_path / "figures.json"
    words = ["evaluate", str(golden), "--stream", str(stream_file), "--out", str(out)]
    done = CliRunner().invoke(main, words)
    assert " at stated false-reject rates of 5 to 50 %; " in done.stdout
    assert json.loads(out.read_text())["tasks"]["red"]["stated_false_reject_rate"] == 0.5


def test_a_task_that_the_bundle_lacks_is_one_sentence(golden, without_blue, stream_file):
    done = CliRunner().invoke(main, ["evaluate", str(golden), "--stream", str(stream_file)])
    assert done.exit_code == 1
    assert "does not hold blue" in done.output


def test_a_product_without_test_images_is_one_sentence(golden, stream_file):
    for path in (stream_file.parent / "data/green/test").rglob("*.png"):
        path.unlink()
    for path in (stream_file.parent / "data/green/ground_truth").rglob("*.png"):
        path.unlink()
    done = CliRunner().invoke(evaluate, [str(golden), "--stream", str(stream_file)])
    assert "has no test images" in str(done.exception)


@pytest.mark.parametrize("in_memory", [True, False])
def test_frames_are_those_of_the_files(stream_file, products, in_memory):
    for task in read_stream(stream_file).tasks:
        for read, expected in zip(frames_of(task, in_memory), products[task.name], strict=True):
            assert (read.product, read.anomalous) == (task.name, expected.anomalous)
            frame = read.image if in_memory else decode_image(read.image)
            assert np.array_equal(frame, expected.image)


def test_an_older_task_answers_the_same_in_a_later_version(
    golden, with_blue, without_blue, products
):
    with Detector.open(golden, device="cpu", watch=False) as detector:
        before = {name: given_answers(detector, products[name]) for name in ("red", "green")}
        assert routed_auroc(predict(detector, products["red"])) == 1.0
    (golden / "bundle.json").write_bytes(with_blue)
    with Detector.open(golden, device="cpu", watch=False) as detector:
        after = {name: given_answers(detector, products[name]) for name in products}
    found = compare(before, after)
    assert found == {"tasks": 2, "images": 8, "changed_images": 0}


def test_a_product_left_out_looks_strange(golden, without_blue, products):
    with Detector.open(golden, device="cpu", watch=False) as detector:
        found = measure_left_out(detector, "blue", products)
        known = predict(detector, [*products["red"], *products["green"]])
    assert found == {"unknown_product_auroc": 1.0, "unknown_product_rejected": 1.0}
    assert not any(one.unknown for one in known)


def test_a_device_process_answers_without_torch(golden, stream_file):
    found = probe(golden, stream_file.parent / "data/red/test/good/0.png", threads=1)
    assert found.tasks == 3
    assert not found.torch
    assert 0 < found.memory.uss <= found.memory.pss <= found.memory.rss
    assert found.seconds > 0


def test_a_device_process_that_fails_says_why(tmp_path):
    with pytest.raises(CadEdgeError, match="not a bundle"):
        probe(tmp_path, tmp_path / "frame.png", threads=1)
