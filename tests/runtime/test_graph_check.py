"""The graph check: what it reads, what it refuses, and that no bytes make it do anything else."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cad_edge.errors import GraphError
from cad_edge.onnxruntime_installation import load_onnxruntime
from cad_edge_runtime.graph_check import DEFAULT_LIMITS, check_graph
from cad_edge_runtime.graph_summary import Port
from cad_edge_runtime.onnx_file import read_onnx
from tests.runtime.onnx_bytes import field, graph, model, node, port, tensor, varint

pytestmark = pytest.mark.torchless

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "graphs"


@pytest.fixture
def check(tmp_path):
    """Check bytes as the graph of a folder that also holds 16 bytes of weights."""
    (tmp_path / "weights.bin").write_bytes(bytes(16))

    def run(data: bytes, limits=DEFAULT_LIMITS, inputs=("x",), outputs=("y",)):
        (tmp_path / "graph.onnx").write_bytes(data)
        return check_graph(tmp_path, inputs, outputs, limits)

    run.folder = tmp_path
    return run


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.onnx").read_bytes()


HIDDEN = {
    "constant": "secret",
    "list": "'a' with tensors",
    "sparse": "sparse tensor",
    "subgraph": "a graph of its own",
    "function": "defines the function",
}


class TestReading:
    def test_a_plain_graph(self, check):
        found = check(golden("plain"))
        assert found.ir_version == 10
        assert found.opsets == {"": {18}}
        assert found.operators == {("", "Add")}
        assert found.inputs == [Port("x", 1, ("batch", 4))]
        assert found.outputs == [Port("y", 1, ("batch", 4))]
        assert (found.nodes, found.tensors, found.external) == (1, 1, [])

    def test_external_data(self, check):
        found = check(golden("external"))
        (data,) = found.external
        assert (data.tensor, data.location, data.offset, data.length) == ("w", "weights.bin", 0, 16)
        assert found.weight_bytes == 16

    def test_what_this_file_writes_is_read(self, check):
        found = check(model(opset=20))
        assert (found.operators, found.inputs[0].dims) == ({("", "Relu")}, (1, 4))
        assert check(model(graph(field(1, node(domain="ai.onnx"))))).nodes == 1

    @pytest.mark.parametrize("opset", [17, 18, 19, 20])
    def test_allowed_opsets(self, check, opset):
        check(model(opset=opset))

    def test_more_outputs_than_are_needed_are_fine(self, check):
        check(model(graph(rest=field(12, port("z")))))


class TestRefusals:
    @pytest.mark.parametrize(
        "name, words",
        [
            ("parent", r"'\.\./weights\.bin', which is not a file beside the graph"),
            ("opset16", "its opset is 16, allowed are 17 to 20"),
            ("foreign", r"'Gelu' is of the foreign domain 'com\.microsoft'"),
            ("nested", "holds a graph of its own, as loops and branches do"),
            ("nested_foreign", "holds a graph of its own, as loops and branches do"),
            ("function", "defines the function 'Twice'"),
        ],
    )
    def test_golden_graphs(self, check, name, words):
        with pytest.raises(GraphError, match=words) as caught:
            check(golden(name))
        assert str(check.folder / "graph.onnx") in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "location",
        [
            "",
            ".",
            "..",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "C:x",
            "w\0",
            "*/_ORT_MEM_ADDR_/*",
            "nowhere",
        ],
    )
    def test_external_data_elsewhere(self, check, location):
        body = graph(rest=field(5, tensor([4], location=location)))
        with pytest.raises(GraphError, match=r"not a file beside the graph|cannot be read"):
            check(model(body))

    @pytest.mark.parametrize("hidden", ["constant", "list", "sparse", "subgraph", "function"])
    def test_external_data_in_every_hiding_place(self, check, hidden):
        away = tensor([4], location="../secret")
        places = {
            "constant": graph(field(1, node("Constant", field(5, away)))),
            "list": graph(field(1, node("Constant", field(10, away)))),
            "sparse": graph(rest=field(15, field(1, away))),
            "subgraph": graph(field(1, node("If", field(6, graph(rest=field(5, away)))))),
            "function": graph(),
        }
        function = field(25, field(1, "f") + field(7, node("Constant", field(5, away))))
        with pytest.raises(GraphError, match=HIDDEN[hidden]):
            check(model(places[hidden], rest=function if hidden == "function" else b""))

    def test_overlong_keys_hide_nothing(self, check):
        away = tensor([4], location="../secret")
        overlong = bytes([5 << 3 | 2 | 0x80, 0]) + varint(len(away)) + away
        with pytest.raises(GraphError, match="secret"):
            check(model(graph(field(1, node("Constant", overlong)))))
        with pytest.raises(GraphError, match="impossible number"):
            check(model(rest=varint(7 << 3 | 2 | 1 << 32) + b"\0"))

    @pytest.mark.parametrize("entries", [{"location": "weights.bin"}, {"length": "16"}, {}])
    def test_a_later_field_cannot_take_back_an_earlier_one(self, check, entries):
        away = tensor([4], location="../secret") + tensor([], raw=b"", **entries)
        with pytest.raises(GraphError, match="secret"):
            check(model(graph(rest=field(5, away + field(14, 0)))))
        twice = field(1, node(domain="com.evil") + field(7, ""))
        with pytest.raises(GraphError, match=r"com\.evil"):
            check(model(graph(twice)))

    def test_symbolic_links(self, check):
        (check.folder / "link.bin").symlink_to(check.folder / "weights.bin")
        with pytest.raises(GraphError, match=r"link\.bin is a symbolic link"):
            check(model(graph(rest=field(5, tensor([4], location="link.bin")))))
        (check.folder / "graph.onnx").rename(check.folder / "real.onnx")
        (check.folder / "graph.onnx").symlink_to(check.folder / "real.onnx")
        with pytest.raises(GraphError, match=r"graph\.onnx is a symbolic link"):
            check_graph(check.folder, ["x"], ["y"])
        (check.folder / "folder").mkdir()
        (check.folder / "graph.onnx").unlink()
        with pytest.raises(GraphError, match="not a plain file"):
            check(model(graph(rest=field(5, tensor([4], location="folder")))))
        (check.folder / "graph.onnx").unlink()
        with pytest.raises(GraphError, match="cannot be read"):
            check_graph(check.folder, ["x"], ["y"])

    @pytest.mark.parametrize(
        "entries, words",
        [
            ({"offset": "4"}, "ends at byte 20 of weights.bin, which has 16"),
            ({"length": "12"}, "has 12 bytes where its shape needs 16"),
            ({"offset": "-4"}, "external offset '-4'"),
            ({"length": "٣"}, "external length"),
            ({"offset": "9" * 30}, "external offset"),
        ],
    )
    def test_external_data_out_of_bounds(self, check, entries, words):
        body = graph(rest=field(5, tensor([4], location="weights.bin", **entries)))
        with pytest.raises(GraphError, match=words):
            check(model(body))

    @pytest.mark.parametrize(
        "dims, words",
        [
            ([1 << 20, 1 << 20], "more than"),
            ([0, 1 << 40], "more than"),
            ([-1], "impossible"),
            ([1] * 17, "impossible"),
            ([3], "has 16 bytes where its shape needs 12"),
        ],
    )
    def test_tensors_that_ask_for_too_much(self, check, dims, words):
        with pytest.raises(GraphError, match=words):
            check(model(graph(rest=field(5, tensor(dims, raw=bytes(16))))))

    @pytest.mark.parametrize(
        "inputs, expected, words",
        [
            ([], ["x"], "the input 'x' is missing"),
            (["x", "bank"], ["x"], "the input 'bank' is not one that the manifest binds"),
            (["x", "x"], ["x"], "two inputs of one name"),
        ],
    )
    def test_other_inputs(self, check, inputs, expected, words):
        with pytest.raises(GraphError, match=words):
            check(model(graph(inputs=inputs)), inputs=expected)

    def test_a_missing_output(self, check):
        with pytest.raises(GraphError, match="the output 'score' is missing"):
            check(model(), outputs=["y", "score"])

    def test_opsets(self, check):
        for opset in (0, 16, 21, -1):
            with pytest.raises(GraphError, match="allowed are 17 to 20"):
                check(model(opset=opset))
        with pytest.raises(GraphError, match="its opset is 17, 18"):
            check(model(rest=field(8, field(1, "ai.onnx") + field(2, 17))))
        with pytest.raises(GraphError, match="its opset is none"):
            check(field(7, graph()))

    def test_no_graph_and_training(self, check):
        for data in (b"", field(1, 10), field(7, b"")):
            with pytest.raises(GraphError, match=r"holds no graph|has 0 bytes"):
                check(data)
        with pytest.raises(GraphError, match="training graph"):
            check(model(rest=field(20, b"")))

    def test_limits(self, check):
        with pytest.raises(GraphError, match="more than 2 nodes"):
            check(model(graph(field(1, node()) * 3)), replace(DEFAULT_LIMITS, nodes=2))
        with pytest.raises(GraphError, match="allowed are 1 to 20"):
            check(model(), replace(DEFAULT_LIMITS, file_bytes=20))
        body = graph(rest=field(5, tensor([4], location="weights.bin")))
        with pytest.raises(GraphError, match="exceed 15 bytes"):
            check(model(body), replace(DEFAULT_LIMITS, folder_bytes=15))

    def test_deep_nesting_does_not_exhaust_the_stack(self, check):
        nested = b""
        for _ in range(3000):
            nested = field(1, field(5, field(6, nested)))
        with pytest.raises(GraphError, match="a graph of its own"):
            check(model(nested))


class TestMalformed:
    @pytest.mark.parametrize(
        "data",
        [
            b"\x08",
            b"\x3a\x05",
            b"\x3a" + b"\xff" * 9 + b"\x01",
            b"\xff" * 11,
            b"\x3b",
            b"\x00\x00",
            b"\x3f",
            b"\x09\x00",
            b"\x3a\x80",
            b"not an onnx file",
        ],
    )
    def test_bytes_that_are_no_message(self, check, data):
        with pytest.raises(GraphError, match=r"graph\.onnx is refused"):
            check(data)

    def test_a_name_that_is_no_text(self, check):
        with pytest.raises(GraphError, match="not UTF-8"):
            check(model(graph(field(1, field(4, b"\xff")))))
        with pytest.raises(GraphError, match="5000 bytes long"):
            check(model(graph(field(1, field(4, b"x" * 5000)))))

    @pytest.mark.parametrize("name", ["plain", "external", "nested", "function"])
    def test_truncation_at_every_byte(self, check, name):
        data = golden(name)
        for length in range(len(data)):
            try:
                check(data[:length])
            except GraphError:
                continue

    @pytest.mark.parametrize("name", ["plain", "external", "nested", "function"])
    def test_changed_bytes_give_a_sentence_or_a_summary(self, check, name):
        chance = random.Random(name)
        good = golden(name)
        refused = 0
        for _ in range(400):
            data = bytearray(good)
            for _ in range(chance.choice([1, 1, 2, 8])):
                data[chance.randrange(len(data))] = chance.randrange(256)
            try:
                check(bytes(data))
            except GraphError as problem:
                refused += "\n" not in str(problem)
        assert refused > 100


class TestAgainstOnnx:
    """The `onnx` package as a second opinion, where it is installed."""

    def test_golden_graphs_are_what_their_script_writes(self, tmp_path):
        pytest.importorskip("onnx")
        script = shutil.copy(GOLDEN / "make_graphs.py", tmp_path)
        scope = {"__name__": "make_graphs", "__file__": str(script)}
        exec(compile(Path(script).read_text(), script, "exec"), scope)
        scope["main"]()
        for path in sorted(GOLDEN.glob("*.onnx")):
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name

    @pytest.mark.parametrize("name", ("external", "foreign", "parent", "plain"))
    def test_nodes_and_tensors_are_counted_as_onnx_does(self, check, name):
        onnx = pytest.importorskip("onnx")
        loaded = onnx.load_from_string(golden(name))
        found = read_onnx(golden(name), DEFAULT_LIMITS)
        assert found.opsets == {entry.domain: {entry.version} for entry in loaded.opset_import}
        assert [port.name for port in found.inputs] == [port.name for port in loaded.graph.input]
        assert {(node.domain, node.op_type) for node in loaded.graph.node} <= found.operators
        assert found.functions == [function.name for function in loaded.functions]
        assert found.nodes >= len(loaded.graph.node)

    def test_what_passes_runs_in_onnx_runtime(self, check):
        runtime = load_onnxruntime()
        import numpy as np

        for name in ("plain", "external"):
            check(golden(name))
            session = runtime.InferenceSession(
                check.folder / "graph.onnx", providers=["CPUExecutionProvider"]
            )
            assert session.run(None, {"x": np.ones((2, 4), np.float32)})[0].shape == (2, 4)
