"""Products of several methods, at two input sizes, in one bundle with one routing."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cad_edge.data.stream import read_stream
from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from cad_edge_training.input_size import AUTO
from cad_edge_training.train import TrainingPlan, train
from tests.export.test_input_sizes import SIZES, part, products, spoil
from tests.house.refusals import content, run, sentence
from tests.training.small_products import LITE0, SMALL, quiet

__all__ = ["products"]

METHODS = {"smooth": "padim", "fine": "patch_memory"}


@pytest.fixture(scope="module")
def artifacts(products, tmp_path_factory) -> Path:
    """One folder: padim at the backbone's size, patch_memory at the one chosen for the product."""
    out = tmp_path_factory.mktemp("learned")
    stream = read_stream(products / "stream.json")
    for name, size in (("smooth", None), ("fine", AUTO)):
        options = SMALL if METHODS[name] == "patch_memory" else {}
        plan = TrainingPlan(METHODS[name], LITE0, size, options, 0)
        tasks = [task for task in stream.tasks if task.name == name]
        assert train(stream.model_copy(update={"tasks": tasks}), out, plan, lambda _: quiet)
    return out


@pytest.fixture(scope="module")
def first(artifacts, tmp_path_factory) -> Path:
    """Bundle of the first product, learned by the one method."""
    place = tmp_path_factory.mktemp("bundles") / "first"
    export_artifacts([artifacts / "smooth"], place, ExportPlan(), quiet)
    return place


@pytest.fixture(scope="module")
def bundle(artifacts, first, tmp_path_factory) -> Path:
    """The product of the other method added to a copy of it by the command."""
    place = Path(shutil.copytree(first, tmp_path_factory.mktemp("bundles") / "both"))
    done = run("export", artifacts, "--bundle", place)
    assert done.exit_code == 0, done.output
    assert "added fine to" in done.stdout
    return place


def test_every_product_has_its_method_and_size_and_they_share_the_entry(bundle):
    manifest = Bundle(bundle).manifest()
    assert {name: entry.method for name, entry in manifest.tasks.items()} == METHODS
    found = {name: entry.engine.recipe.width for name, entry in manifest.tasks.items()}
    assert found == SIZES
    entry = manifest.tasks["smooth"].engine.stages[0].graph
    assert manifest.selector.engine.stages[0].graph == entry
    assert sorted(manifest.selector.tasks) == sorted(METHODS)
    for task in manifest.tasks.values():
        assert task.certificate.flips == 0 and task.certificate.score_max <= 1e-4


@pytest.mark.parametrize(
    ("layout", "precision"),
    [("shared", "fp32"), pytest.param("fused", "fp16", marks=pytest.mark.slow)],
)
def test_frames_find_their_product_and_its_method_finds_the_defect(
    artifacts, bundle, tmp_path, layout, precision
):
    if layout == "fused":
        bundle = tmp_path / "bundle"
        paths, plan = [artifacts / name for name in METHODS], ExportPlan(layout, precision)
        export_artifacts(paths, bundle, plan, quiet)
    rng = np.random.default_rng(5)
    names = ["smooth", "fine", "fine", "smooth"]
    frames = [part(name, rng) for name in names]
    with Detector.open(bundle, device="cpu", threads=1, watch=False) as detector:
        every = detector.detect_batch(frames)
        assert [one.task for one in every] == names
        for frame, one in zip(frames, every, strict=True):
            assert one.anomaly_map.shape == (SIZES[one.task],) * 2
            given = detector.detect(frame, task=one.task)
            assert one.score == pytest.approx(given.score, rel=1e-2, abs=1e-2)
            found = detector.detect(spoil(frame), task=one.task)
            assert found.verdict == "anomalous" and found.score > one.score
            left, top, right, bottom = max(found.defects, key=lambda each: each.peak).box
            assert left < 224 < right and top < 164 < bottom


def test_a_product_of_another_method_changes_nothing_of_the_older_one(first, bundle):
    frame = spoil(part("smooth", np.random.default_rng(8)))
    with (
        Detector.open(first, device="cpu", threads=1, watch=False) as old,
        Detector.open(bundle, device="cpu", threads=1, watch=False) as new,
    ):
        then, now = (one.detect(frame, task="smooth") for one in (old, new))
        assert (then.score, then.threshold, then.verdict) == (now.score, now.threshold, now.verdict)
        assert then.anomaly_map.tobytes() == now.anomaly_map.tobytes()


def test_the_commands_take_such_a_bundle(bundle, products, tmp_path):
    place = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    images = products / "fine/test/blot"
    found = run("detect", place, images)
    assert found.exit_code == 0, found.output
    assert run("verify", place, "--open").exit_code == 0
    measured = run("evaluate", place, "--stream", products / "stream.json")
    assert measured.exit_code == 0, measured.output
    assert all(name in measured.stdout for name in METHODS)
    listed = run("tasks", place)
    assert all(method in listed.stdout for method in METHODS.values()), listed.output
    back = run("rollback", place)
    assert back.exit_code == 0, back.output
    assert sorted(Bundle(place).manifest().tasks) == ["smooth"]
    assert run("detect", place, products / "smooth/test/good").exit_code == 0


def test_key_sets_of_two_methods_are_of_other_features_and_are_refused(artifacts, first, tmp_path):
    """patch_memory takes its keys from block 10, padim from block 4."""
    bundle = Path(shutil.copytree(first, tmp_path / "bundle"))
    before = content(bundle)
    said = sentence("export", artifacts, "--bundle", bundle, "--selector", "key_set")
    assert "smooth (padim) after block 4 and fine (patch_memory) after block 10 are not" in said
    assert content(bundle) == before
