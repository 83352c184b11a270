"""By which rule an exported product is recognised: one with maps, one of before, in eight bits."""

import shutil

import pytest

from cad_edge.calibration import Calibration
from cad_edge.recognition import OUTER, REJECTION_MARGIN, recognition_of
from cad_edge.routing import fit_discriminant, from_tensors
from cad_edge.schema import canonical_json
from cad_edge.store.artifact import read_record
from cad_edge.store.bundle import Bundle
from cad_edge_export.entries import shifted
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_export.stored_engine import read_tensors
from cad_edge_runtime import Detector
from tests.training.small_products import NAMES, quiet

OLDER, NEWER, LAST = NAMES
QUARTILES = [0.0625, 0.125]


@pytest.fixture(scope="module")
def artifacts(tiny, tmp_path_factory):
    """Artifacts of which the first says nothing of the quartiles of maps, as older ones do not."""
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("artifacts") / "all")
    for name in NAMES:
        record = read_record(folder / name)
        quartiles = [] if name == OLDER else QUARTILES
        calibration = record.calibration.model_copy(update={"map_quartiles": quartiles})
        changed = record.model_copy(update={"calibration": calibration, "sha256": {}})
        (folder / name / "artifact.json").write_bytes(canonical_json(changed))
    return folder


@pytest.fixture(scope="module")
def grown(artifacts, dinov2, tmp_path_factory):
    """Bundle with a version for each task, and their manifests."""
    place = tmp_path_factory.mktemp("grown") / "bundle"
    manifests = []
    for name in NAMES:
        export_artifacts([artifacts / name], place, ExportPlan(backbone=f"dinov2:{dinov2}"), quiet)
        manifests.append(Bundle(place).manifest())
    return place, manifests


def test_every_task_gets_its_rule_by_the_selector_of_all(grown):
    place, manifests = grown
    for manifest in manifests:
        bundle, tasks = Bundle(place), manifest.tasks
        fitted = fit_discriminant(
            {
                name: from_tensors(read_tensors(entry.routing, bundle))
                for name, entry in tasks.items()
            }
        )
        assert manifest.selector.tasks == list(fitted.tasks)
        for name, sure in zip(fitted.tasks, fitted.radii, strict=True):
            entry = tasks[name]
            assert entry.recognition == recognition_of(entry.calibration, sure)
            assert (entry.recognition is None) == (name == OLDER)
            factor = REJECTION_MARGIN if name == OLDER else OUTER
            assert entry.radius == pytest.approx(factor * sure)


def test_a_further_task_moves_the_rules_of_those_before(grown):
    _, (_, second, third) = grown
    before, after = second.tasks[NEWER].recognition, third.tasks[NEWER].recognition
    assert after.sure != before.sure
    assert after.model_copy(update={"sure": before.sure}) == before


def test_the_order_of_export_changes_no_rule(grown, artifacts, dinov2, tmp_path):
    _, manifests = grown
    for name in reversed(NAMES):
        plan = ExportPlan(backbone=f"dinov2:{dinov2}")
        export_artifacts([artifacts / name], tmp_path / "turned", plan, quiet)
    tasks = Bundle(tmp_path / "turned").manifest().tasks
    assert {name: (entry.radius, entry.recognition) for name, entry in tasks.items()} == {
        name: (entry.radius, entry.recognition) for name, entry in manifests[-1].tasks.items()
    }


def test_the_runtime_opens_a_bundle_of_both_kinds(grown):
    place, manifests = grown
    with Detector.open(place, threads=1, watch=False) as detector:
        assert detector.tasks() == tuple(sorted(NAMES))
    manifest = Bundle(place).manifest()
    assert manifest == manifests[-1]


def test_eight_bits_shift_quartiles_as_peaks():
    calibration = Calibration(
        scheme="split", folds=1, scores=[1.0], map_peaks=[2.0, 4.0], map_quartiles=[0.5, 0.75]
    )
    moved = shifted(calibration, 10.0, 0.25)
    assert (moved.scores, moved.map_peaks, moved.map_quartiles) == (
        [11.0],
        [2.25, 4.25],
        [0.75, 1.0],
    )
    bare = calibration.model_copy(update={"map_quartiles": []})
    assert shifted(bare, 10.0, 0.25).map_quartiles == []
