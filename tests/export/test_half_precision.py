"""fp16: engines for GPUs, exported and certified on the CPU."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from cad_edge.store.bundle import Bundle
from cad_edge_export.exporter import export_folder
from cad_edge_export.plan import ExportPlan
from cad_edge_runtime import Detector
from tests.training.small_products import NAMES, quiet


@pytest.fixture(scope="module", params=["shared", "fused"])
def in_fp16(request, lite0, tmp_path_factory):
    """Bundle of three products in fp16."""
    bundle = tmp_path_factory.mktemp("half") / "bundle"
    export_folder(lite0, bundle, ExportPlan(layout=request.param, precision="fp16"), quiet)
    return bundle


def models(bundle):
    """Every graph of the tasks of ``bundle``."""
    store = Bundle(bundle)
    engines = [entry.engine for entry in store.manifest().tasks.values()]
    graphs = {stage.graph for engine in engines for stage in engine.stages}
    return [onnx.load(store.verify_object(graph) / "graph.onnx") for graph in sorted(graphs)]


def test_convolutions_compute_in_half_precision(in_fp16):
    for model in models(in_fp16):
        types = {item.name: item.data_type for item in model.graph.initializer}
        weights = {types[node.input[1]] for node in model.graph.node if node.op_type == "Conv"}
        assert weights == {TensorProto.FLOAT16}


def test_inputs_and_outputs_are_those_of_float32(in_fp16):
    for model in models(in_fp16):
        ports = [*model.graph.input, *model.graph.output]
        kinds = {port.type.tensor_type.elem_type for port in ports}
        assert kinds <= {TensorProto.FLOAT, TensorProto.UINT8}


def test_the_certificate_states_its_tolerance_and_holds(in_fp16):
    for entry in Bundle(in_fp16).manifest().tasks.values():
        proof = entry.certificate
        assert entry.engine.precision == "fp16" and proof.quantisation is None
        assert 0 < proof.score_max <= proof.tolerance
        assert proof.map_max <= proof.tolerance
        assert proof.flips == 0


def test_frames_score_as_in_float32(in_fp16, lite0, tmp_path):
    exact = tmp_path / "fp32"
    export_folder(lite0, exact, ExportPlan(), quiet)
    recipe = Bundle(exact).manifest().tasks[NAMES[0]].engine.recipe
    frame = np.random.default_rng(0).integers(0, 256, (recipe.height, recipe.width, 3), np.uint8)
    with (
        Detector.open(in_fp16, device="cpu", watch=False) as half,
        Detector.open(exact, device="cpu", watch=False) as whole,
    ):
        for task in NAMES:
            found, wanted = half.detect(frame, task=task), whole.detect(frame, task=task)
            assert found.verdict == wanted.verdict
            assert found.score == pytest.approx(wanted.score, rel=0.02)
