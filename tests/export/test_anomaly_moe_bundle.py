"""AnomalyMoE in a bundle: frozen steps, precisions, and answers that say which level it was."""

from pathlib import Path

import numpy as np
import pytest

from cad_edge.errors import OptionError
from cad_edge.store.artifact import read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from tests.training.small_products import NAMES, SIDE, learn, quiet, steps_of, stream_of

OPTIONS = {"channels": "16", "rank": "4", "components": "3"}
METHOD = "anomaly_moe"


@pytest.fixture(scope="module")
def one_by_one(products, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("experts")
    learn(stream_of(products, NAMES), out, OPTIONS, method=METHOD)
    return out


@pytest.fixture(scope="module")
def bundle(one_by_one, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "experts"
    export_artifacts([one_by_one / NAMES[0]], folder, ExportPlan(), quiet)
    return folder


def entry_of(bundle: Path, name: str) -> str:
    """What a task answers with; the radius of recognition is left to the other products."""
    entry = Bundle(bundle).manifest().tasks[name]
    return entry.model_dump_json(exclude={"radius", "recognition"})


def objects_of(bundle: Path, name: str) -> dict[str, bytes]:
    engine = Bundle(bundle).manifest().tasks[name].engine
    names = {stage.graph for stage in engine.stages} | {*engine.tensor_objects()}
    return {
        f"{place.parent.name}/{place.name}": place.read_bytes()
        for name in sorted(names)
        for place in sorted((bundle / "objects" / name).iterdir())
    }


class TestForgetting:
    def test_a_later_step_changes_no_byte_of_an_older_product(self, bundle, one_by_one):
        first = NAMES[0]
        before = entry_of(bundle, first), objects_of(bundle, first)
        export_artifacts([one_by_one / name for name in NAMES[1:]], bundle, ExportPlan(), quiet)
        assert (entry_of(bundle, first), objects_of(bundle, first)) == before
        assert [*Bundle(bundle).manifest().tasks] == [*NAMES]

    def test_what_comes_before_or_later_does_not_matter(self, products, one_by_one, tmp_path):
        learn(stream_of(products, NAMES[::-1]), tmp_path, OPTIONS, method=METHOD)
        for name in NAMES:
            ours, theirs = (read_artifact(folder / name) for folder in (one_by_one, tmp_path))
            assert ours.artifact.calibration == theirs.artifact.calibration
            assert ours.tensors.keys() == theirs.tensors.keys()
            for tensor, value in ours.tensors.items():
                assert np.array_equal(value, theirs.tensors[tensor]), tensor

    def test_a_step_of_two_leaves_the_one_before_as_it_is(self, products, one_by_one, tmp_path):
        learn(steps_of(products, NAMES[:1], NAMES[1:]), tmp_path, OPTIONS, method=METHOD)
        alone, before = (read_artifact(folder / NAMES[0]) for folder in (one_by_one, tmp_path))
        assert alone.artifact.calibration == before.artifact.calibration
        together = read_artifact(tmp_path / NAMES[1]).tensors
        assert {name.split("/")[1] for name in together if name.startswith("patch/")} == {"0"}
        assert len(together["product_gates"]) == 6, "two experts of each level, and one is kept"


class TestJoint:
    def test_all_products_are_one_step_to_which_none_is_added(self, products, tmp_path):
        options = {**OPTIONS, "joint": "true"}
        learn(stream_of(products, NAMES[:2]), tmp_path, options, method=METHOD)
        assert len(read_artifact(tmp_path / NAMES[0]).tensors["product_gates"]) == 6
        with pytest.raises(OptionError, match="checks, stripes are there already"):
            learn(stream_of(products, NAMES), tmp_path, options, method=METHOD)


def test_the_certificate_says_how_often_frames_choose_as_their_product(bundle):
    proof = Bundle(bundle).manifest().tasks[NAMES[0]].certificate
    assert proof.same_experts_held_out == proof.same_experts_witness == 1.0, "one of each level"


def test_frames_choose_among_the_levels_that_are_asked(products, tmp_path):
    options = {**OPTIONS, "routing_at": "image", "levels": "patch,global"}
    learn(steps_of(products, NAMES[:2]), tmp_path / "made", options, method=METHOD)
    export_artifacts([tmp_path / "made" / NAMES[0]], tmp_path / "bundle", ExportPlan(), quiet)
    with Detector.open(tmp_path / "bundle") as detector:
        blot = sorted((products / NAMES[0] / "test" / "blot").iterdir())[0]
        found = detector.detect(blot, task=NAMES[0])
    assert found.levels["component"] == 0 and found.level in ("patch", "global")


@pytest.mark.parametrize("precision", ["fp16", "uint8"])
def test_other_precisions_are_certified_and_answer(one_by_one, products, tmp_path, precision):
    measured = products / "checks-stripes-waves.json" if precision == "uint8" else None
    plan = ExportPlan(precision=precision, calibration=measured)
    export_artifacts([one_by_one / NAMES[0]], tmp_path / "bundle", plan, quiet)
    with Detector.open(tmp_path / "bundle") as detector:
        blot = sorted((products / NAMES[0] / "test" / "blot").iterdir())[0]
        found = detector.detect(blot, task=NAMES[0])
    assert found.verdict == "anomalous" and found.level is not None


def test_the_device_says_which_level_it_was(bundle, products):
    with Detector.open(bundle) as detector:
        blot = sorted((products / NAMES[0] / "test" / "blot").iterdir())[0]
        found = detector.detect(blot, task=NAMES[0])
        assert found.levels is not None and [*found.levels] == ["patch", "component", "global"]
        assert sum(found.levels.values()) == pytest.approx(found.score, rel=1e-4)
        assert found.level == max(found.levels, key=lambda level: found.levels[level])
        located = found.level_map("patch")
        assert located.shape == found.size == (SIDE, SIDE)
        rows, columns = np.unravel_index(located.argmax(), located.shape)
        assert 20 < rows < 56 and 24 < columns < 60, "the blot lies at 30..46, 34..50"
