"""The plot of accuracy against time, and the report around it."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from cad_edge_benchmarks.advise import plot as advise_plot
from cad_edge_benchmarks.advise.plot import accuracy_plot
from cad_edge_benchmarks.advise.report import advice_document
from cad_edge_benchmarks.advise.schema import (
    Accuracy,
    Advice,
    AdviceRequest,
    MeasuredSetting,
    ProductFacts,
    Share,
)
from cad_edge_benchmarks.instruments.environment import describe_environment
from cad_edge_benchmarks.reporting.document import markdown, text

FRONT = {"128px, one-memory": (2.1, 0.917), "128px": (2.4, 0.918), "320px": (9.6, 0.962)}
OTHERS = {"default": (5.5, 0.942), "bank*2": (5.9, 0.941)}


def measured(name, milliseconds, auroc, on_front):
    shares = Share(hits=5, total=5)
    found = Accuracy(
        image_auroc=auroc,
        error=0.01,
        pixel_auroc=None,
        routed_good=shares,
        routed_defective=shares,
        by_task={"nut": auroc},
    )
    return MeasuredSetting(
        name=name,
        changes={},
        size=224,
        options=[],
        precision="fp32",
        accuracy=found,
        to_best=auroc - 0.962,
        to_best_error=0.009,
        p50=milliseconds,
        p90=milliseconds,
        frames=100,
        peak_memory=None,
        task_bytes=5e5,
        bundle_bytes=10**6,
        on_front=on_front,
        within=True,
    )


@pytest.fixture
def advice():
    default, *others = (measured(name, *figures, False) for name, figures in OTHERS.items())
    front = [measured(name, *figures, True) for name, figures in FRONT.items()]
    split = Share(hits=5, total=10)
    return Advice(
        made_at="2026-01-01",
        asked=AdviceRequest(
            data="line",
            method="m",
            backbone="b",
            fixed=[],
            axes={},
            seed=0,
            threads=1,
            device="cpu",
        ),
        environment=describe_environment(None),
        device="cpu",
        data_sha256="0" * 64,
        products=[
            ProductFacts(
                name="nut", path="nut", learned=9, selection=split, evaluation=split, synthetic=None
            )
        ],
        settings=[default, *front, *others],
        refused=[],
        limits={"ms": 60},
        taken="320px",
        nearest=[],
        nearest_name=None,
        reported=None,
        commands=[],
    )


def test_the_plot_names_the_front_the_default_and_the_budget(advice):
    root = ElementTree.fromstring(accuracy_plot(advice))
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert [texts.count(name) for name in (*FRONT, "default", "bank*2")] == [1, 1, 1, 1, 0]
    assert "budget 60 ms →" in texts, "it lies further right than the plot reaches"


def test_names_cover_neither_each_other_nor_a_setting_nor_the_front(advice):
    axes = Figure((12, 6)).add_subplot()
    axes.set(xlim=(1, 20), ylim=(0.9, 0.97))
    close = [one.model_copy(update={"p90": 3 + n / 5}) for n, one in enumerate(advice.settings)]
    obstacles = np.array([advise_plot._place(one) for one in close])
    advise_plot._names(axes, close, obstacles, "320px")
    boxes = [one.get_window_extent() for one in axes.texts]
    assert len(boxes) == 5 and not any(one.overlaps(two) for one, two in combinations(boxes, 2))
    for box in boxes:
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
        assert not box.count_contains(axes.transData.transform(obstacles))


def test_the_report_puts_the_front_before_what_it_dominates(advice):
    document = advice_document(advice)
    for laid in (text(document), markdown(document)):
        places = [laid.index(word) for word in ("128px, one-memory", "320px (taken)", "Dominated")]
        assert places == sorted(places)
        assert re.search("Dominated.*default", laid, re.DOTALL)
    assert (
        document.headline
        == "Take “320px”: 9.6 ms a frame (90th percentile), 500 kB a task, within 60 ms."
    )


def test_advice_with_earlier_names_of_fields_is_read(advice):
    record = advice.model_dump_json()
    for name, earlier in (
        ("selection", "choosing"),
        ("evaluation", "reporting"),
        ("synthetic", "stand_in"),
    ):
        record = record.replace(f'"{name}":', f'"{earlier}":')
    assert Advice.model_validate_json(record) == advice
