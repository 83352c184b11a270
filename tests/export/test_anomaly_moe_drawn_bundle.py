"""Drawn experts of AnomalyMoE on the device: operators, precisions, one graph for all products."""

from pathlib import Path

import pytest

from cad_edge.errors import ArtifactError
from cad_edge.store.artifact import read_artifact
from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.fusions import load_fusion
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from cad_edge_training.backbones import load_backbone
from tests.training.small_products import LITE0, NAMES, learn, quiet, steps_of

DRAWN = {
    **{"start": "drawn", "form": "attention", "components": "3", "experts": "2"},
    **{"width": "16", "depth": "1", "heads": "2", "steps": "30", "warm_up": "0"},
}
BY_IMAGE = {"routing_at": "image", "routing": "top_k", "global_form": "pair"}


def learned(products: Path, out: Path, options: dict[str, str]) -> Path:
    """The first two products in one step."""
    learn(steps_of(products, NAMES[:2]), out, options, method="anomaly_moe")
    return out


@pytest.fixture(scope="module")
def artifacts(products, tmp_path_factory) -> Path:
    return learned(products, tmp_path_factory.mktemp("drawn"), DRAWN)


def blot_of(products: Path, name: str) -> Path:
    return sorted((products / name / "test" / "blot").iterdir())[0]


def detect_blots(products: Path, bundle: Path) -> None:
    with Detector.open(bundle) as detector:
        for name in NAMES[:2]:
            found = detector.detect(blot_of(products, name), task=name)
            assert found.levels is not None and [*found.levels] == ["patch", "component", "global"]
            assert sum(found.levels.values()) == pytest.approx(found.score, rel=1e-3)


def test_products_that_chose_different_experts_have_one_graph(artifacts, products, tmp_path):
    bundle = tmp_path / "bundle"
    export_artifacts([artifacts / name for name in NAMES[:2]], bundle, ExportPlan(), quiet)
    engines = [Bundle(bundle).manifest().tasks[name].engine for name in NAMES[:2]]
    first, second = (engine.stages[1] for engine in engines)
    assert first.graph == second.graph
    assert first.inputs["image"] == "frame/image"
    assert engines[0].tensors != engines[1].tensors
    detect_blots(products, bundle)


def test_image_routing_over_pairs_opens_on_the_device(products, tmp_path):
    made = learned(products, tmp_path / "artifacts", {**DRAWN, **BY_IMAGE})
    bundle = tmp_path / "bundle"
    export_artifacts([made / name for name in NAMES[:2]], bundle, ExportPlan(), quiet)
    detect_blots(products, bundle)


@pytest.mark.parametrize("precision", ["fp16", "uint8"])
def test_other_precisions_are_certified_and_answer(artifacts, products, tmp_path, precision):
    measured = products / "steps-checks+stripes.json" if precision == "uint8" else None
    plan = ExportPlan(precision=precision, calibration=measured)
    chosen = [artifacts / name for name in NAMES[:2]]
    export_artifacts(chosen, tmp_path / "bundle", plan, quiet)
    detect_blots(products, tmp_path / "bundle")


def test_the_backbone_at_another_size_is_refused(artifacts):
    task = read_artifact(artifacts / NAMES[0])
    with pytest.raises(ArtifactError, match="64 x 64 pixels and cannot look at 96 x 96"):
        load_fusion("anomaly_moe", "shared")(task, load_backbone(LITE0, 96), "fp32")
