"""The accuracy report, from a result with one task fully measured and one barely."""

import pytest

from cad_edge_studies.accuracy.report import (
    BEGIN,
    END,
    RESULTS_BEGIN,
    RESULTS_END,
    print_report,
    update_front_page,
    update_readme,
)
from cad_edge_studies.accuracy.targets import accuracy_targets

CERTIFICATE = {"score_max": 2e-6, "map_max": 5e-5, "flips": 0}
FULL = {
    "detection_rate": 0.8,
    "false_reject_rate": 0.04,
    "false_reject_interval": [0.005, 0.137],
    "detection_rate_perfect": 0.85,
    "lost_by_calibration": 0.05,
    "found_of_perfect": 0.8 / 0.85,
    "unknown_normal": 0.0,
    "unknown_defective": 0.02,
    "image_auroc": 0.95,
    "pixel_auroc": 0.93,
    "routing_normal": 1.0,
    "routing_defective": 0.98,
    "unknown_product_auroc": 0.999,
    "unknown_product_rejected": 0.96,
    "seconds": 31.0,
    "images_train": 120,
    "disk_bytes": 9_000_000,
}
BARE = {**dict.fromkeys(FULL), "seconds": 95.0, "images_train": 31, "disk_bytes": 400_000}


@pytest.fixture
def result():
    return {
        "seed": 0,
        "backbone": "efficientnet-lite0",
        "stated_false_reject_rate": 0.05,
        "headline": "Finds 40 of 50 defects.",
        "beside": "Calibration loses some.",
        "machine": {"cpu": "Tester 9", "cores": 2, "python": "3.11"},
        "versions": {"onnxruntime": "1.31.1"},
        "tasks": {"nut": FULL, "bolt": BARE},
        "all_parts": {"detection_rate": 0.81, "false_reject_interval": [0.01, 0.1]},
        "mean": {name: value for name, value in FULL.items() if "interval" not in name},
        "mean_rgb": {"found_of_perfect": 0.93},
        "seeds": {"0": FULL},
        "forgetting": {"shared": {"changed_images": 0}, "fused": {"changed_images": 1}},
        "routed_matrix": {"a_auroc": 0.95, "fm": 0.0},
        "ram_bytes_per_further_task": 300_000.0,
        "certificates": {"shared": {"nut": CERTIFICATE}, "fused": {"nut": CERTIFICATE}},
    }


def test_the_targets_begin_with_defects_found(result):
    assert [target.what for target in accuracy_targets(result)][:4] == [
        "defects found at 5 % stated, mean",
        "false rejects, mean",
        "false rejects, worst category",
        "found of what a perfect threshold finds, mean of the RGB categories",
    ]


def test_targets_read_the_result(result):
    result["tasks"]["bolt"] = {**BARE, "false_reject_rate": 0.2}
    targets = {target.what: target for target in accuracy_targets(result)}
    assert targets["defects found at 5 % stated, mean"].reached
    assert targets["false rejects, mean"].reached
    assert targets["false rejects, worst category"].value == 0.2
    assert targets["found of what a perfect threshold finds, mean of the RGB categories"].reached
    assert not targets["defective frames called unknown, mean"].reached
    assert not targets["mean image AUROC, routed"].reached  # 0.95 and not 0.955
    assert targets["frames of a left-out product called unknown, mean"].reached
    assert targets["unknown product AUROC, mean"].reached
    assert targets["engines against torch"].value == 5e-5
    assert not targets["images changed by later tasks, both layouts"].reached
    # the first task pays for the shared graphs; a further one does not
    assert targets["disk per further task"].value == pytest.approx(0.4)
    # 31 images are not 120
    assert targets["learning 120 images"].value == 31.0


def test_some_categories_have_limits_of_their_own(result):
    named = {target.what for target in accuracy_targets(result)}
    assert not any(what.startswith(("pcb", "cookie")) for what in named)
    result["tasks"] |= {"pcb": {**FULL, "detection_rate": 0.5}, "cookie": BARE}
    targets = {target.what: target.reached for target in accuracy_targets(result)}
    assert targets["pcb: defects found"] is False
    assert targets["pcb: image AUROC, routed"] is True
    assert targets["cookie: defects found"] is None


def test_one_task_alone_says_nothing_of_further_ones(result):
    result["tasks"] = {"nut": FULL}
    result["ram_bytes_per_further_task"] = None
    reached = {target.what: target.reached for target in accuracy_targets(result)}
    assert reached["disk per further task"] is None
    assert reached["RAM per further task"] is None


def test_the_tables_of_the_readme_are_replaced(result, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"# CMPMB\n{BEGIN}\n{END}\nafter\n")
    update_readme(page, result)
    lines = page.read_text().splitlines()
    assert lines[0] == "# CMPMB"
    assert lines[2] == "Finds 40 of 50 defects. Calibration loses some."
    assert lines[-1] == "after"
    verdicts, scores = (n for n, line in enumerate(lines) if line.startswith("| task |"))
    assert lines[verdicts].startswith("| task | defects found | false rejects | 95 % interval |")
    nut = "| nut | 0.800 | 0.040 | 0.005 to 0.137 | 0.850 | 0.050 | 0.941 | 0.000 | 0.020 |"
    assert lines[verdicts + 2] == nut
    assert lines[verdicts + 4].startswith("| all parts | 0.810 | - | 0.010 to 0.100 |")
    assert lines[verdicts + 5].startswith("| mean | 0.800 | 0.040 | - | 0.850 |")
    assert lines[scores].startswith("| task | image AUROC |")
    assert lines[scores + 3].startswith("| bolt | - | - |")
    assert "Tester 9" in page.read_text()


def test_the_front_page_begins_with_the_sentence(result, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"{RESULTS_BEGIN}\n{RESULTS_END}\n")
    update_front_page(page, result)
    _, first, _, head, _, found, *_ = page.read_text().splitlines()
    assert first.startswith("Finds 40 of 50 defects.")
    assert head.startswith("| must reach |")
    assert found == "| defects found at 5 % stated, mean | at least 0.75 | 0.8 | reached |"


def test_a_terminal_reads_the_sentence_first(result, capsys):
    result["seeds"] = {"0": FULL, "1": {**FULL, "detection_rate": 0.7}}
    print_report(result)
    said = capsys.readouterr().out
    assert said.startswith("Finds 40 of 50 defects.\n\nCalibration loses some.\n")
    assert "Over 2 seeds: defects found, mean, 0.700 to 0.800; mean image AUROC 0.950" in said


def test_without_a_page_nothing_is_written(result, tmp_path):
    update_readme(tmp_path / "README.md", result)
    assert list(tmp_path.iterdir()) == []
