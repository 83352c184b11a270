"""The accuracy report, from a result with one task fully measured and one barely."""

import pytest

from cad_edge_benchmarks.accuracy_report import BEGIN, END, accuracy_targets, update_readme

CERTIFICATE = {"score_max": 2e-6, "map_max": 5e-5, "flips": 0}
FULL = {
    "image_auroc": 0.95,
    "pixel_auroc": 0.93,
    "routing_normal": 1.0,
    "routing_defective": 0.98,
    "unknown_product_auroc": 0.99,
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
        "machine": {"cpu": "Tester 9", "cores": 2, "python": "3.11"},
        "versions": {"onnxruntime": "1.31.1"},
        "tasks": {"nut": FULL, "bolt": BARE},
        "mean": FULL,
        "seeds": {"0": FULL},
        "forgetting": {"shared": {"changed_images": 0}, "fused": {"changed_images": 1}},
        "routed_matrix": {"a_auroc": 0.95, "fm": 0.0},
        "ram_bytes_per_further_task": 300_000.0,
        "certificates": {"shared": {"nut": CERTIFICATE}, "fused": {"nut": CERTIFICATE}},
    }


def test_targets_read_the_result(result):
    targets = {target.what: target for target in accuracy_targets(result)}
    assert targets["mean image AUROC, routed"].reached
    assert not targets["routing, defective images"].reached
    assert targets["engines against torch"].value == 5e-5
    assert not targets["images changed by later tasks, both layouts"].reached
    # the first task pays for the shared graphs; a further one does not
    assert targets["disk per further task"].value == pytest.approx(0.4)
    # 31 images are not 120
    assert targets["learning 120 images"].value == 31.0


def test_one_task_alone_says_nothing_of_further_ones(result):
    result["tasks"] = {"nut": FULL}
    result["ram_bytes_per_further_task"] = None
    reached = {target.what: target.reached for target in accuracy_targets(result)}
    assert reached["disk per further task"] is None
    assert reached["RAM per further task"] is None


def test_the_table_of_the_readme_is_replaced(result, tmp_path):
    page = tmp_path / "README.md"
    page.write_text(f"# CMPMB\n{BEGIN}\n{END}\nafter\n")
    update_readme(page, result)
    lines = page.read_text().splitlines()
    assert lines[0] == "# CMPMB"
    assert lines[-1] == "after"
    assert any(line.startswith("| bolt | - | - |") for line in lines)
    assert "Tester 9" in page.read_text()


def test_without_a_page_nothing_is_written(result, tmp_path):
    update_readme(tmp_path / "README.md", result)
    assert list(tmp_path.iterdir()) == []
