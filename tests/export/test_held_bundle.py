"""What the device refuses, the exporter refuses: of a bundle that it adds to, and of its own."""

import shutil

import onnx
import pytest

from cad_edge.errors import CadEdgeError, GraphError
from cad_edge.store.bundle import Bundle
from cad_edge_export import exporter, held_bundle
from cad_edge_export.exporter import export_artifacts
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from tests.export.test_incremental import content
from tests.runtime.conftest import Workshop
from tests.training.small_products import NAMES, quiet


@pytest.fixture
def bundle(tiny_first, tmp_path) -> Bundle:
    return Bundle(shutil.copytree(tiny_first, tmp_path / "bundle"))


def foreign(model: onnx.ModelProto) -> None:
    last = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("Evil", [last], ["x"], domain="evil"))
    model.opset_import.append(onnx.helper.make_opsetid("evil", 1))


def endless(model: onnx.ModelProto) -> None:
    size = onnx.helper.make_tensor("far_size", 7, [1], [1 << 40])
    model.graph.initializer.append(size)
    model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["far_size"], ["x"]))


def enormous(model: onnx.ModelProto) -> None:
    size = onnx.helper.make_tensor("far_size", 7, [1], [1 << 40])
    one = onnx.helper.make_tensor("far_one", 1, [], [1.0])
    model.graph.initializer.extend([size, one])
    model.graph.node.append(onnx.helper.make_node("Expand", ["far_one", "far_size"], ["x"]))


FORGED = {
    "foreign": (foreign, "the operator 'Evil' is of the foreign domain 'evil'"),
    "endless": (endless, "the operator 'ConstantOfShape' is none"),
    "enormous": (enormous, "Expand takes its values to"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_bundle_that_no_device_opens_is_not_added_to(bundle, tiny, dinov2, name):
    change, words = FORGED[name]
    workshop = Workshop(bundle)
    task = NAMES[0]
    model = onnx.load_from_string(workshop.graph(task))
    change(model)
    workshop.change_graph(task, model.SerializeToString())
    before = content(bundle.path)
    with pytest.raises(GraphError, match=words) as device:
        Detector.open(bundle.path, watch=False)
    plan = ExportPlan("shared", backbone=f"dinov2:{dinov2}")
    with pytest.raises(GraphError) as workstation:
        export_artifacts([tiny / NAMES[1]], bundle.path, plan, quiet)
    assert str(workstation.value) == str(device.value)
    assert content(bundle.path) == before


def test_what_it_makes_itself_is_held_to_the_same(bundle, tiny, dinov2, monkeypatch):
    def refuse(store, manifest):
        raise GraphError(f"version {manifest.version} is refused")

    monkeypatch.setattr(exporter, "require_openable", refuse)
    before = content(bundle.path)
    plan = ExportPlan("shared", backbone=f"dinov2:{dinov2}")
    with pytest.raises(GraphError, match="version 2 is refused"):
        export_artifacts([tiny / NAMES[1]], bundle.path, plan, quiet)
    assert content(bundle.path) == before


def test_sound_bundles_and_none_at_all(bundle, tmp_path):
    held_bundle.require_held(bundle)
    held_bundle.require_held(Bundle(tmp_path / "none"))
    held_bundle.require_openable(bundle, bundle.manifest())
    model = bundle.manifest()
    odd = model.selector.model_copy(update={"tasks": ["nobody"]})
    with pytest.raises(CadEdgeError, match="knows 'nobody'"):
        held_bundle.require_openable(bundle, model.model_copy(update={"selector": odd}))
