"""Figures on the front page are those of the result files."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = (
    "detection_rate",
    "detection_rate_perfect",
    "false_reject_rate",
    "image_auroc",
    "pixel_auroc",
)


@pytest.mark.parametrize("method", ["patch_memory", "anomaly_moe", "padim"])
def test_methods_stand_beside_each_other_as_they_were_measured(method):
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| \[`{method}`\].*$", page, flags=re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
    name = f"{method.replace('_', '-')}-open.json"
    result = json.loads((ROOT / "docs" / "results" / name).read_text(encoding="utf-8"))
    (memory,) = (one for one in result["must_reach"] if one["what"] == "RAM per further task")
    expected = [f"{result['mean'][figure]:.3f}" for figure in FIGURES]
    assert result["method"] == method
    assert cells == [*expected, f"{memory['value']:.1f} MB"]
