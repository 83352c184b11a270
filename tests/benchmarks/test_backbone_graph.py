"""The backbone cut out of an engine, on graphs of a few operators."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from cad_edge.errors import OptionError
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Stage
from cad_edge_benchmarks.benchmark.backbone_graph import open_backbone
from cad_edge_export.graph_files import put_beside, value_of

FLOAT = TensorProto.FLOAT


def model(nodes, inputs, outputs, constants):
    """Serialise a graph; ports are vectors of four numbers for each frame."""
    ports = [
        [helper.make_tensor_value_info(name, FLOAT, ["batch", 4]) for name in names]
        for names in (inputs, outputs)
    ]
    tensors = [
        numpy_helper.from_array(np.full(4, value, np.float32), name)
        for name, value in constants.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, *ends, name=f"node_{place}") for place, (kind, *ends) in nodes],
        "graph",
        *ports,
        tensors,
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def entry_graph():
    """hidden = image * 2, and descriptor = (image * 2) * 5, which no engine takes."""
    nodes = [
        ("Mul", ["pixels", "backbone.stem.weight"], ["hidden"]),
        ("Mul", ["hidden", "backbone.blocks.0.weight"], ["descriptor"]),
    ]
    weights = {"backbone.stem.weight": 2, "backbone.blocks.0.weight": 5}
    return model([*enumerate(nodes)], ["pixels"], ["hidden", "descriptor"], weights)


def head_graph():
    """val_1 = hidden * 3 + plane * 7 by the backbone; score = val_1 * 11 * bank is the head's."""
    nodes = [
        ("Mul", ["hidden", "trunk.backbone.blocks.1.weight"], ["val_0"]),
        ("Mul", ["plane", "trunk.backbone.stem.weight"], ["val_2"]),
        ("Add", ["val_0", "val_2"], ["sum"]),
        ("Mul", ["sum", "trunk.backbone.norm.weight"], ["val_1"]),
        ("Mul", ["val_1", "network.weight"], ["own"]),
        ("Mul", ["own", "bank"], ["score"]),
    ]
    weights = {
        "trunk.backbone.blocks.1.weight": 3,
        "trunk.backbone.stem.weight": 7,
        "trunk.backbone.norm.weight": 1,
        "network.weight": 11,
    }
    return model([*enumerate(nodes)], ["hidden", "plane", "bank"], ["score"], weights)


@pytest.fixture
def engine(golden):
    """An engine of two stages whose second takes depth, in a bundle that has its objects."""
    bundle = Bundle(golden)
    entry, head = (bundle.add_object({"graph.onnx": one}) for one in (entry_graph(), head_graph()))
    tensors = bundle.add_object({"tensors.safetensors": save({"bank": np.ones(4, np.float32)})})
    stages = [
        Stage(graph=entry, inputs={"pixels": "frame/image"}),
        Stage(
            graph=head,
            inputs={"hidden": "0/hidden", "plane": "frame/depth", "bank": "tensor/bank"},
        ),
    ]
    task = bundle.manifest().tasks["red"]
    return task.engine.model_copy(update={"stages": stages, "tensors": tensors})


def test_the_cut_ends_with_the_last_weight_and_holds_both_passes(golden, engine, tmp_path):
    chain = open_backbone(Bundle(golden), engine, tmp_path / "cut", "cpu", 1)
    image, depth = np.full((1, 4), 1, np.float32), np.full((1, 4), 10, np.float32)
    values = {chain.image: image, chain.depth: depth}
    chain.run(values)
    (name,) = chain.results.values()
    assert values[name].tolist() == [[2 * 3 + 10 * 7] * 4]
    (step,) = chain.steps
    cut = onnx.load(Bundle(tmp_path / "cut").object_folder(step.session.graph) / "graph.onnx")
    # Neither the descriptor, which only the selector takes, nor anything of the head is left.
    assert [node.op_type for node in cut.graph.node] == ["Mul", "Mul", "Mul", "Add", "Mul"]
    assert {one.name for one in cut.graph.initializer} == {
        "0/backbone.stem.weight",
        "1/trunk.backbone.blocks.1.weight",
        "1/trunk.backbone.stem.weight",
        "1/trunk.backbone.norm.weight",
    }
    assert {one.name for one in cut.graph.input} == {"frame/image", "frame/depth"}


def test_weights_in_files_of_their_own_come_along(golden, engine, tmp_path):
    bundle = Bundle(golden)
    stages = []
    for stage, one in zip(engine.stages, (entry_graph(), head_graph()), strict=True):
        large = onnx.ModelProto.FromString(one)
        for weight in large.graph.initializer:
            # What stays within a graph is small; these are made large enough to be moved.
            value = np.tile(value_of(weight, b""), (100, 1))
            weight.CopyFrom(numpy_helper.from_array(value, weight.name))
        beside = put_beside(large, 0)
        assert len(beside) == 1
        added = bundle.add_object({"graph.onnx": large.SerializeToString(), **beside})
        stages.append(stage.model_copy(update={"graph": added}))
    moved = engine.model_copy(update={"stages": stages})
    chain = open_backbone(bundle, moved, tmp_path / "cut", "cpu", 1)
    image, depth = np.full((1, 4), 1, np.float32), np.full((1, 4), 10, np.float32)
    values = {chain.image: image, chain.depth: depth}
    chain.run(values)
    (name,) = chain.results.values()
    assert np.array_equal(values[name], np.full((100, 4), 2 * 3 + 10 * 7))


def test_an_engine_that_names_no_weights_is_cut_where_its_last_stage_begins(golden, tmp_path):
    bundle = Bundle(golden)
    engine = bundle.manifest().tasks["red"].engine
    chain = open_backbone(bundle, engine, tmp_path / "cut", "cpu", 1)
    values = {chain.image: np.zeros((1, 32, 32, 3), np.uint8)}
    chain.run(values)
    assert list(chain.results) == ["0/features"]
    with pytest.raises(OptionError, match="name the weights of the backbone"):
        alone = bundle.manifest().tasks["blue"].engine
        open_backbone(bundle, alone, tmp_path / "blue", "cpu", 1)


def test_eight_bits_are_refused(golden, engine, tmp_path):
    rounded = engine.model_copy(update={"precision": "uint8"})
    with pytest.raises(OptionError, match="in uint8, where weights have other names"):
        open_backbone(Bundle(golden), rounded, tmp_path / "cut", "cpu", 1)
