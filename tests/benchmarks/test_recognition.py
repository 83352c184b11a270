"""The study of recognition: bundles, shares by category, windows that were not learned."""

import numpy as np
import pytest
from PIL import Image

from cad_edge.data.stream import read_stream
from cad_edge.errors import OptionError
from cad_edge_runtime import Detector
from cad_edge_studies.open_set import Prediction, measure_left_out, novelty_auroc, novelty_of
from cad_edge_studies.recognition.__main__ import parse_sizes, print_report
from cad_edge_studies.recognition.figures import rotations, size_figures
from cad_edge_studies.recognition.left_out_photographs import link_windows

NAMES = ("a", "b", "c", "d")


def test_rotations_are_neighbours_in_a_circle():
    assert [*rotations(NAMES, 1)] == [("a",), ("b",), ("c",), ("d",)]
    assert [*rotations(NAMES, 2)] == [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")]
    assert [*rotations(NAMES, 4)] == [NAMES]
    for size in (1, 2, 3):
        bundles = [*rotations(NAMES, size)]
        assert {name: sum(name in one for one in bundles) for name in NAMES} == dict.fromkeys(
            NAMES, size
        )


def predicted(product: str, task: str | None, anomalous: bool, novelty: float) -> Prediction:
    return Prediction(product, anomalous, task, float("nan"), novelty)


BUNDLES = {
    ("a",): [
        predicted("a", "a", False, 0.1),
        predicted("a", None, False, 1.5),
        predicted("a", "a", True, 0.6),
        predicted("a", None, True, 1.6),
        predicted("b", None, False, 1.9),
        predicted("b", "a", True, 0.7),
    ],
    ("b",): [
        predicted("b", "b", False, 0.2),
        predicted("b", "b", True, 0.3),
        predicted("a", None, False, 1.8),
        predicted("a", None, True, 1.8),
    ],
}


def test_figures_worked_by_hand():
    found = size_figures(BUNDLES)
    assert found["bundles"] == 2
    assert found["defective_unknown"] == {"mean": 0.25, "categories": {"a": 0.5, "b": 0.0}}
    assert found["good_not_routed"] == {"mean": 0.25, "categories": {"a": 0.5, "b": 0.0}}
    assert found["left_out_unknown"] == {"mean": 0.75, "categories": {"a": 1.0, "b": 0.5}}
    assert found["taken_for"] == {"a": None, "b": {"product": "a", "share_of_frames": 0.5}}
    # Of b's two frames one is above all four of a, the other above two of them: (4 + 2) / 8.
    assert found["auroc"] == pytest.approx((6 / 8 + 1.0) / 2)


def test_unlearned_products_are_ranked_by_novelty():
    learned = [predicted("a", "a", False, 0.1), predicted("b", "b", True, 0.2)]
    unlearned = [predicted("c", None, False, 0.3), predicted("c", "a", False, 0.15)]
    assert novelty_auroc([*learned, *unlearned], ("a", "b")) == pytest.approx(3 / 4)
    assert novelty_auroc(learned, ("a", "b")) is None


def test_a_good_part_of_another_name_is_not_routed():
    predictions = [predicted("a", "b", False, 0.1), predicted("b", "b", False, 0.1)]
    found = size_figures({("a", "b"): predictions})
    assert found["good_not_routed"]["categories"] == {"a": 1.0, "b": 0.0}
    assert found["left_out_unknown"] == {"mean": None, "categories": {}}
    assert found["auroc"] is None


def test_sizes_beyond_all_products_are_all_of_them():
    assert parse_sizes("1,2,4,9", 3) == [1, 2, 3]
    for text in ("0", "two", "", "1,-1"):
        with pytest.raises(OptionError, match="--sizes-of-bundles"):
            parse_sizes(text, 3)


def test_the_report_names_what_unlearned_products_are_taken_for(capsys):
    windows = {"frames": 4, "pooled": 0.25, "mean": 0.25, "categories": {"without-0-1": 0.25}}
    print_report(
        {
            "categories": ["a", "b"],
            "method": "golden",
            "seed": 0,
            "sizes": {"1": size_figures(BUNDLES)},
            "windows": windows,
        }
    )
    said = capsys.readouterr().out
    assert "50.0 % (a)" in said
    assert ["b", "50.0", "%", "a", "50.0", "%"] in [line.split() for line in said.splitlines()]
    assert "25.0 % of 4 called unknown; worst choice: 25.0 % (without-0-1)" in said


@pytest.fixture
def photographs(tmp_path, rng):
    """Task of twelve windows of four photographs, told by their names."""
    good = tmp_path / "road" / "train" / "good"
    good.mkdir(parents=True)
    for number in range(12):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(good / f"photo{number // 3}_{number}.png")
    text = """{"name": "road", "false_reject_rate": 0.05, "tasks":
        [{"name": "road", "path": "road", "group": {"pattern": "photo[0-9]"}}]}"""
    (tmp_path / "line.json").write_text(text)
    return read_stream(tmp_path / "line.json").tasks[0]


def test_every_two_photographs_are_kept_out_once(photographs, tmp_path):
    again, kept_out = link_windows(photographs, tmp_path / "place")
    assert sorted(kept_out) == [
        f"without-{pair}" for pair in ("0-1", "0-2", "0-3", "1-2", "1-3", "2-3")
    ]
    assert {len(paths) for paths in kept_out.values()} == {6}
    for task in again.tasks:
        product = task.samples()
        kept = {path.resolve() for path in product.train}
        assert len(kept) == 6 and not kept & {path.resolve() for path in kept_out[task.name]}
        assert sorted(task.groups(product).count(name) for name in set(task.groups(product))) == [
            3,
            3,
        ]


def test_windows_of_unknown_photographs_are_refused(photographs, tmp_path):
    loose = photographs.model_copy(update={"group": None})
    with pytest.raises(OptionError, match="road has windows of 0 known photographs"):
        link_windows(loose, tmp_path / "place")


def test_what_is_called_unknown_is_more_novel_than_all_else(golden, products):
    with Detector.open(golden, device="cpu", watch=False) as detector:
        known = detector.detect(products["red"][0].image)
        unknown = detector.detect(np.full((32, 32, 3), 255, np.uint8))
    assert unknown.verdict == "unknown_product"
    assert novelty_of(known) == 1 - known.similarity < 1
    assert novelty_of(unknown) == 2 - unknown.similarity > 1.5


def test_a_frame_in_doubt_that_passes_ranks_below_every_unknown_one(golden, without_blue, products):
    with Detector.open(golden, device="cpu", watch=False) as detector:
        found = measure_left_out(detector, "blue", {**products, "green": []})
    assert found == {"unknown_product_auroc": 1.0, "unknown_product_rejected": 1.0}
