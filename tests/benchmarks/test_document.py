import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from cad_edge.errors import OptionError
from cad_edge_benchmarks.reporting.document import (
    Cell,
    Code,
    Document,
    Figure,
    Markup,
    Section,
    Table,
    Warn,
    markdown,
    text,
)
from cad_edge_benchmarks.reporting.html_document import render
from cad_edge_benchmarks.reporting.plots import ACCENT, Curve, PlotAxis, line_plot, stacked_bars
from cad_edge_benchmarks.reporting.report_files import check_report, write_report

TABLE = Table(
    ("product", "found"), [["a|b <i>", "8"], ["cookie", Cell("3", "tainted")]], note="A note."
)
FIGURE = Figure('<svg style=""><g fill="var(--bad)"/></svg>', "Times.", "times.svg")
REPORT = Document(
    "A & B",
    "Finds 8 of 9.",
    ("Beside.", Warn("Not honest.")),
    (
        Section("all", "All", (TABLE, FIGURE, Markup("<b>picture</b>"), Code("cad-edge demo"))),
        Section("more", "More", (Table(("", ""), [["cpu", "EPYC"]], is_list=True),), linked=False),
        Section("rest", "Rest", ("Left out.",), in_terminal=False),
    ),
)


class Page(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.ids, self.said = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes).get("class")))
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [value for name, value in attributes if name == "href"]

    def handle_data(self, data):
        self.said.append(data)


def test_a_terminal_gets_sentences_aligned_tables_and_red_where_figures_are_tainted():
    said = text(REPORT)
    assert said.startswith("Finds 8 of 9.\n\nBeside.\n\n\x1b[31mNot honest.\x1b[0m\n\nAll\n---\n")
    assert "product  found\na|b <i>      8\ncookie   \x1b[31m    3\x1b[0m\nA note." in said
    assert "More\n----\ncpu  EPYC" in said
    assert "Left out" not in said and "picture" not in said and "svg" not in said


def test_markdown_escapes_bars_marks_tainted_cells_and_links_plots():
    said = markdown(REPORT)
    assert said.startswith("# A & B\n\n**Finds 8 of 9.**\n\nBeside.")
    assert "| a\\|b <i> | 8 |" in said
    assert '<span style="color:#b3261e">3 †</span>' in said
    assert "![Times.](times.svg)" in said and "    cad-edge demo" in said
    assert "* cpu: EPYC" in said and "picture" not in said


def test_a_page_links_its_sections_escapes_text_and_needs_nothing_beside_it():
    page = Page(render(REPORT))
    assert page.links == ["#all", "#rest"] and page.ids == ["all", "more", "rest"]
    assert "a|b <i>" in page.said and "picture" in page.said
    assert ("td", "tainted") in page.tags and ("p", "tainted") in page.tags
    assert ("table", "list") in page.tags and ("table", "numbers") in page.tags
    assert "http" not in render(REPORT)


def test_deviations_stand_on_a_line_of_their_own():
    table = Table(("", "AUROC"), [["tile", "0.981 ± 0.004"]])
    page = render(Document("", "", (table,), ()))
    assert '<td>0.981<span class="deviation"> ± 0.004</span></td>' in page


def test_a_report_is_written_into_a_folder_or_as_json_alone(tmp_path):
    written = write_report(tmp_path / "out", "benchmark", REPORT, b"{}")
    names = ["benchmark.html", "benchmark.json", "benchmark.md", "times.svg"]
    assert sorted(path.name for path in written) == names
    alone = '<svg style="background: #ffffff; "><g fill="#b3261e"/></svg>'
    assert (tmp_path / "out" / "times.svg").read_text() == alone
    assert write_report(tmp_path / "one.json", "x", REPORT, b"{}") == [tmp_path / "one.json"]


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("file/below", "is a file"),
        ("file", "does not end in .json"),
        ("folder.json", "is a folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_beforehand(tmp_path, place, sentence):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OptionError, match=sentence):
        check_report("--out", tmp_path / place)


CURVES = [Curve("routed", [(1, 2.0), (10, 3.0), (100, 8.0)]), Curve("given", [(1, 1.0), (100, 1)])]
TIMES = PlotAxis("tasks", (1, 10, 100), is_logarithmic=True)


def test_plots_are_wellformed_take_the_colours_of_their_page_and_are_equal_bytes():
    drawn = line_plot(CURVES, TIMES, "ms", "times & tasks")
    root = ElementTree.fromstring(drawn)
    said = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"routed", "given", "tasks", "ms", "1", "10", "100"} <= said
    assert root.get("aria-label") == "times & tasks"
    assert ACCENT not in drawn and "var(--series-0)" in drawn
    assert drawn == line_plot(CURVES, TIMES, "ms", "times & tasks")


def test_bars_carry_their_sums():
    drawn = stacked_bars({"frame": {"select": 1.5, "detect": 2.0}}, ["select", "detect"], "ms", "")
    assert "3.5 ms" in "".join(ElementTree.fromstring(drawn).itertext())


def test_without_matplotlib_a_sentence_stands_for_the_plot(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "matplotlib" in line_plot(CURVES, TIMES, "ms", "") and "<svg" not in line_plot(
        CURVES, TIMES, "ms", ""
    )
