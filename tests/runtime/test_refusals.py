"""What a detector refuses to open, and that it says so in one sentence."""

import pytest

from cad_edge.errors import BundleError, CadEdgeError, GraphError, IntegrityError
from cad_edge.store.manifest import Stage
from cad_edge_runtime import Detector
from tests.runtime.onnx_bytes import field, node, tensor

pytestmark = pytest.mark.torchless


def refused(bundle, error: type[CadEdgeError], words: str) -> None:
    with pytest.raises(error, match=words) as problem:
        Detector.open(bundle, watch=False)
    assert "\n" not in str(problem.value)


def test_no_bundle(tmp_path):
    refused(tmp_path / "absent", BundleError, "absent is not a bundle")


def test_flipped_byte_anywhere(bundle):
    """Also in objects that only the exporter reads."""
    for path in sorted(bundle.glob("objects/*/*")) + sorted(bundle.glob("manifests/*")):
        sound = path.read_bytes()
        middle = len(sound) // 2
        path.write_bytes(sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :])
        refused(bundle, IntegrityError, path.name)
        path.write_bytes(sound)
    Detector.open(bundle).close()


def test_missing_object(bundle, workshop, tmp_path):
    sha = workshop.store.manifest().tasks["red"].engine.tensors
    (bundle / "objects" / sha).rename(tmp_path / sha)
    refused(bundle, IntegrityError, sha)


def test_symbolic_link_in_an_object(bundle, workshop, tmp_path):
    sha = workshop.store.manifest().tasks["red"].engine.tensors
    path = bundle / "objects" / sha / "tensors.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(bundle, IntegrityError, "symbolic link")


def test_graph_with_other_inputs(bundle, workshop):
    stage = workshop.store.manifest().tasks["blue"].engine.stages[0]
    workshop.change_stage("blue", stage.model_copy(update={"inputs": {"picture": "frame/image"}}))
    refused(bundle, GraphError, "picture")


def test_graph_bound_with_other_inputs_by_a_second_task(bundle, workshop):
    """The graph of `green` is open already when the wrong binding of `red` is met."""
    stage = workshop.store.manifest().tasks["green"].engine.stages[1]
    workshop.change_stage(
        "green",
        stage.model_copy(update={"inputs": {"features": "0/features", "memory": "tensor/bank"}}),
    )
    refused(bundle, GraphError, "memory")


def test_output_that_the_graph_lacks(bundle, workshop):
    stage = workshop.store.manifest().tasks["red"].engine.stages[1]
    inputs = {"features": "0/colours", "bank": "tensor/bank"}
    workshop.change_stage("red", stage.model_copy(update={"inputs": inputs}))
    refused(bundle, GraphError, "colours")


# Repeated fields of one message are merged, so bytes at the end of a graph add nodes to it.
FOREIGN = field(7, field(1, node("Evil", domain="com.evil")))
OUTSIDE = field(7, field(5, tensor([4], location="../../../secret")))


@pytest.mark.parametrize(("extra", "words"), [(FOREIGN, "com.evil"), (OUTSIDE, "secret")])
def test_foreign_domain_and_external_path(bundle, workshop, extra, words):
    workshop.change_graph("blue", workshop.graph("blue") + extra)
    refused(bundle, GraphError, words)


def test_garbage_and_truncated_graphs(bundle, workshop):
    for data in (b"no graph", workshop.graph("green")[:-40]):
        workshop.change_graph("blue", data)
        refused(bundle, GraphError, "graph.onnx")


def test_tensor_that_the_object_lacks(bundle, workshop):
    stage = workshop.store.manifest().tasks["red"].engine.stages[1]
    inputs = {"features": "0/features", "bank": "tensor/other"}
    workshop.change_stage("red", stage.model_copy(update={"inputs": inputs}))
    refused(bundle, BundleError, "'other'")


def test_broken_tensors(bundle, workshop):
    def broken(entry):
        sha = workshop.store.add_object({"tensors.safetensors": b"\0" * 20})
        return entry.model_copy(update={"engine": entry.engine.model_copy(update={"tensors": sha})})

    workshop.change_task("red", broken)
    refused(bundle, IntegrityError, "tensors.safetensors")


@pytest.mark.parametrize(
    "source", ["frame/sound", "1/score", "7/features", "tensor/", "features", "../features"]
)
def test_source_that_does_not_exist(bundle, workshop, source):
    graph = workshop.store.manifest().tasks["red"].engine.stages[1].graph
    inputs = {"features": source, "bank": "tensor/bank"}
    workshop.change_stage("red", Stage(graph=graph, inputs=inputs))
    refused(bundle, BundleError, "stage 1 of task 'red'")


def test_selector_that_knows_a_task_too_many(bundle, workshop):
    def changed(manifest):
        tasks = {name: entry for name, entry in manifest.tasks.items() if name != "red"}
        return manifest.model_copy(update={"tasks": tasks})

    workshop.commit(changed)
    refused(bundle, BundleError, "'red'")


def test_tensor_of_another_shape_is_said_on_opening(bundle, workshop):
    def narrow(entry):
        bank = workshop.tensors(entry.engine)["bank"][:, :5].copy()
        return entry.model_copy(update={"engine": workshop.bind(entry.engine, {"bank": bank})})

    workshop.change_task("red", narrow)
    refused(bundle, GraphError, r"'bank' as float32 of shape \(patches, 8\) .* \(24, 5\)")
