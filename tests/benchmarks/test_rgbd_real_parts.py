"""A real product with depth: figures of made-up runs, and a run on small parts."""

import pytest

from cad_edge_studies.rgbd_comparison.learning import kept, learn_into
from cad_edge_studies.rgbd_comparison.real_parts import (
    FIGURES,
    PRODUCT,
    mean,
    run_name,
    table,
    targets,
)
from cad_edge_studies.rgbd_comparison.task_sequence import MODALITIES, SEEDS
from tests.training.rgbd_products import QUICK, rgbd_stream


def runs(both: float, image: float, depth: float) -> dict:
    """Runs whose seeds differ by a hundredth on either side."""
    values = dict(zip(MODALITIES, (both, image, depth), strict=True))
    found = {}
    for modality, value in values.items():
        for seed, offset in zip(SEEDS, (-0.01, 0.0, 0.01), strict=True):
            figures = dict.fromkeys(FIGURES, value + offset)
            found[run_name(modality, seed)] = {"last": {PRODUCT: figures}}
    return found


def test_means_over_seeds():
    assert mean(runs(0.9, 0.8, 0.7), "rgb", "pixel_auroc") == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("both", "image", "depth", "reached"),
    [
        (0.92, 0.9, 0.8, [True, True]),
        (0.92, 0.8, 0.93, [True, False]),
        (0.85, 0.8, 0.7, [False, True]),
    ],
)
def test_targets(both, image, depth, reached):
    assert [target.reached for target in targets(runs(both, image, depth))] == reached


def test_table_has_a_row_for_all_that_is_looked_at():
    lines = table(runs(0.9, 0.8, 0.7)).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == list(MODALITIES)


def test_learning_and_judging(tmp_path):
    """What a run says of every product, after every step."""
    steps = (("gear",), ("bolt",))
    stream = rgbd_stream(tmp_path / "line", steps, good=3)
    folder = tmp_path / "run"
    found = learn_into(folder, stream, steps, QUICK, 0)
    assert found["seconds"] > 0
    assert found["matrix"][0][1] is None and found["matrix"][1][1] is not None
    assert set(found["last"]) == {"gear", "bolt"}
    for figures in found["last"].values():
        assert 0 <= figures["pixel_auroc"] <= 1
        assert 0 <= figures["false_rejects"] <= 1
    assert kept(folder, QUICK) == found
    assert kept(folder, {**QUICK, "jitter": "7"}) is None
    assert kept(tmp_path / "none", QUICK) is None


def test_a_run_of_other_options_makes_way(tmp_path):
    stream = rgbd_stream(tmp_path / "line", (("gear",),), good=3)
    folder = tmp_path / "run"
    learn_into(folder, stream, (("gear",),), QUICK, 0)
    other = {**QUICK, "jitter": "7"}
    learn_into(folder, stream, (("gear",),), other, 0)
    assert kept(folder, QUICK) is None
    assert kept(folder, other) is not None
