"""Tables and result files."""

import json

import pytest

from cad_edge.errors import OptionError
from cad_edge_benchmarks.reporting.tables import (
    figure,
    figure_rows,
    markdown_table,
    percent,
    percents,
    replace_between,
    text_table,
    wrapped,
    write_result,
)


def test_figures_show_what_is_undefined():
    assert [figure(0.98765), figure(None), figure(3), figure(0.5, digits=1)] == [
        "0.988",
        "-",
        "3",
        "0.5",
    ]
    assert figure((0.0, 0.02251)) == figure([0.0, 0.02251]) == "0.000 to 0.023"


def test_shares_in_percent():
    assert [percent(0.0366), percent(1.0), percent(None)] == ["3.7 %", "100.0 %", "-"]
    assert percents((0.0252, 0.058)) == "2.5 to 5.8 %"


def test_rows_of_figures_are_in_the_order_of_the_columns():
    rows = figure_rows(["b", "a"], {"nut": {"a": 0.5, "b": None}, "mean": {"a": 1.0}})
    assert rows == [["nut", "-", "0.500"], ["mean", "-", "1.000"]]


def test_paragraphs_are_broken_between_words_alone():
    assert wrapped("n" * 95 + " Clopper-Pearson").splitlines() == ["n" * 95, "Clopper-Pearson"]


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
