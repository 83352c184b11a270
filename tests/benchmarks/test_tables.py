"""Tables and result files."""

import json

import pytest

from cad_edge.errors import OptionError
from cad_edge_benchmarks.tables import (
    figure,
    markdown_table,
    replace_between,
    text_table,
    write_result,
)


def test_figures_show_what_is_undefined():
    assert [figure(0.98765), figure(None), figure(3), figure(0.5, digits=1)] == [
        "0.988",
        "-",
        "3",
        "0.5",
    ]


def test_text_columns_line_up():
    table = text_table(["task", "n"], [["nut", "1"], ["a", "100"]])
    assert table.splitlines() == ["task    n", "nut     1", "a     100"]


def test_markdown():
    table = markdown_table(["task", "n"], [["nut", "1"]])
    assert table.splitlines() == ["| task | n |", "| --- | ---: |", "| nut | 1 |"]


def test_only_the_part_between_the_lines_is_replaced(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- b -->\nold\n<!-- e -->\nafter\n")
    for _ in range(2):
        replace_between(page, "<!-- b -->", "<!-- e -->", "new")
        assert page.read_text() == "before\n<!-- b -->\nnew\n<!-- e -->\nafter\n"


def test_a_page_without_the_lines_is_left_alone(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n")
    with pytest.raises(OptionError, match="lacks the lines"):
        replace_between(page, "<!-- b -->", "<!-- e -->", "new")
    assert page.read_text() == "before\n"


def test_results_hold_null_and_refuse_nan(tmp_path):
    target = tmp_path / "results" / "a.json"
    write_result(target, {"auroc": None})
    assert json.loads(target.read_text()) == {"auroc": None}
    with pytest.raises(ValueError, match="JSON"):
        write_result(target, {"auroc": float("nan")})
    assert json.loads(target.read_text()) == {"auroc": None}
