"""The demo's report on the golden bundle: the device process, the figures and the page."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from cad_edge.errors import CadEdgeError, OptionError
from cad_edge_benchmarks.demo.command import command_lines, gather, prepare_folder
from cad_edge_benchmarks.demo.device import inspect, read_inspections
from cad_edge_benchmarks.demo.report import beside, demo_document
from cad_edge_benchmarks.demo.results import products_of, roc_points, routing
from cad_edge_benchmarks.demo.surfaces import DemoLine
from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_benchmarks.instruments.probe import probe
from cad_edge_benchmarks.instruments.proportion import Count
from cad_edge_benchmarks.reporting.document import markdown, text
from cad_edge_benchmarks.reporting.html_document import render

GOLDEN_STEPS = {"learn": 12.0, "export": 3.0}


class Page(HTMLParser):
    """Every tag with its attributes, and whether all that was opened is closed."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def unknown(tmp_path, rng):
    folder = tmp_path / "stranger"
    folder.mkdir()
    for number in range(2):
        frame = rng.integers(0, 256, (32, 32, 3), dtype="uint8")
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def report(golden, stream_file, unknown, tmp_path):
    folder = tmp_path / "inspections"
    inspect(golden, stream_file, unknown, folder)
    started = probe(golden, unknown / "0.png", 1)
    commands = command_lines(tmp_path, DemoLine(stream_file, unknown), 5)
    return gather(golden, folder, started, 5, GOLDEN_STEPS, commands)


def test_the_device_process_runs_without_torch_and_judges_every_frame(report):
    inspections = report.inspections
    assert not inspections.torch_loaded
    assert len(inspections.frames) == 3 * 4 + 2
    for product in products_of(inspections):
        assert product.evaluation.found == Count(2, 2)
        assert product.found_by_kind() == {"square": Count(2, 2)}
        assert len(product.good) == 2
    *known, stranger = routing(inspections)
    assert all(row.right == Count(2, 2) for row in known)
    assert stranger.counts["unknown_product"] == stranger.right.hits == 2


def test_the_report_needs_nothing_beside_it(report):
    markup = render(demo_document(report))
    page = Page(markup)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in {"link", "script", "iframe"}
        for name in ("src", "href", "data", "srcset"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/", "#"))
    assert not re.search(r"url\((?!#)|@import|https?://(?!www.w3.org)", markup)


def test_every_section_is_there_and_is_linked(report):
    page = Page(render(demo_document(report)))
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    names = {section.key for section in demo_document(report).sections}
    assert {"verdicts", "red", "green", "blue", "which-product-is-it", "do-it-again"} <= names
    assert names <= ids and links == {f"#{name}" for name in names}


def test_the_report_tells_what_a_line_engineer_asks(report):
    document = demo_document(report)
    page = render(document)
    assert page.count("ROC curve, area under the curve 1.000") == 3
    assert document.headline.startswith(
        "Finds 6 of 6 defects (100.0 %) at a stated false-reject rate"
    )
    assert "rejects 0 of 6 good windows (0.0 %, 95 % interval 0.0 to 45.9 %)" in document.headline
    assert document.headline in page and beside(report) in page
    assert "Of a product never learned, 2 of 2 windows were refused." in beside(report)
    assert "torch never loaded" in page
    assert "cad-edge train --stream" in page and "stranger, never learned" in page
    assert page.count("<image ") >= 2 * 2 * 3
    for laid in (page, text(document), markdown(document)):
        assert "6 of 6 (100.0 %)" in laid
    assert "cad-edge train" not in text(document), "a terminal gets the first table alone"


def test_names_are_escaped(report):
    frames = [
        frame.model_copy(update={"defect": frame.defect and "<b>"})
        for frame in report.inspections.frames
    ]
    changed = report.inspections.model_copy(update={"frames": frames})
    page = render(demo_document(replace(report, inspections=changed)))
    assert "<b>" not in page and "&lt;b&gt;" in page


def test_roc_points_agree_with_the_metric(rng):
    good, bad = rng.integers(0, 9, 40).astype(float), rng.integers(3, 12, 30).astype(float)
    points = roc_points(good, bad)
    area = sum((x - u) * (y + v) / 2 for (u, v), (x, y) in pairwise(points))
    labels = [False] * len(good) + [True] * len(bad)
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 1.0)
    assert area == pytest.approx(image_auroc(np.array(labels), np.concatenate([good, bad])))


def test_a_device_process_that_fails_says_its_last_line(golden, stream_file, tmp_path):
    with pytest.raises(CadEdgeError, match="holds no images of an unknown product"):
        inspect(golden, stream_file, tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(CadEdgeError, match="run the demo again"):
        read_inspections(tmp_path / "out")


def test_a_folder_with_files_of_others_is_left_alone(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(OptionError, match="not of a demo"):
        prepare_folder(tmp_path)
    assert (tmp_path / "holiday.txt").read_text() == "mine"


def test_a_folder_of_an_earlier_demo_is_made_anew(tmp_path):
    out = tmp_path / "demo"
    prepare_folder(out)
    (out / "bundle").mkdir()
    (out / "bundle" / "bundle.json").write_text("{}")
    prepare_folder(out)
    assert not (out / "bundle").exists()
