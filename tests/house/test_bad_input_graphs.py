"""Graphs that are what their sha256 says, and still not to be run: the graph check catches them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cad_edge.store.bundle import Bundle
from tests.house.refusals import sentence

onnx = pytest.importorskip("onnx")

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bundle"


class Forgery:
    """The golden bundle in a version in which the graph of the task blue is another one."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(shutil.copytree(GOLDEN, folder / "bundle"))
        self.store = Bundle(self.path)
        self.engine = self.store.manifest().tasks["blue"].engine
        data = self.store.read_object(self.engine.stages[-1].graph)["graph.onnx"]
        self.model = onnx.load_from_string(data)

    def commit(self, beside: dict[str, bytes] | None = None) -> Path:
        """Hash and bind the changed graph; return its object folder."""
        files = {"graph.onnx": self.model.SerializeToString(), **(beside or {})}
        sha = self.store.add_object(files)
        with self.store.lock():
            pointer, manifest = self.store.pointer(), self.store.manifest()
            last = self.engine.stages[-1].model_copy(update={"graph": sha})
            stages = [*self.engine.stages[:-1], last]
            engine = self.engine.model_copy(update={"stages": stages})
            blue = manifest.tasks["blue"].model_copy(update={"engine": engine})
            update = {
                "version": pointer.version + 1,
                "previous": pointer.manifest,
                "tasks": {**manifest.tasks, "blue": blue},
            }
            self.store.commit(manifest.model_copy(update=update))
        return self.store.object_folder(sha)

    def refer_to(self, location: str) -> None:
        tensor = self.model.graph.initializer.add(name="w", data_type=1, dims=[4])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)


@pytest.fixture
def forgery(tmp_path) -> Forgery:
    return Forgery(tmp_path)


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (32, 32), (180, 40, 40)).save(path)
    return path


def foreign(forgery: Forgery) -> None:
    graph = forgery.model.graph
    graph.node.append(onnx.helper.make_node("Evil", [graph.output[0].name], ["x"], domain="evil"))
    forgery.model.opset_import.append(onnx.helper.make_opsetid("evil", 1))


def renamed_input(forgery: Forgery) -> None:
    graph = forgery.model.graph
    name, graph.input[0].name = graph.input[0].name, "picture"
    for node in graph.node:
        for number, value in enumerate(node.input):
            if value == name:
                node.input[number] = "picture"


def further_input(forgery: Forgery) -> None:
    forgery.model.graph.input.append(onnx.helper.make_tensor_value_info("extra", 1, [1]))


FAULTS: dict[str, tuple[Callable[[Forgery], None], str]] = {
    "foreign domain": (foreign, "the operator 'Evil' is of the foreign domain 'evil'"),
    "outside": (lambda one: one.refer_to("../../bundle.json"), "'../../bundle.json', which is not"),
    "absolute": (lambda one: one.refer_to("/etc/hostname"), "'/etc/hostname', which is not"),
    "absent": (lambda one: one.refer_to("w.bin"), "w.bin cannot be read"),
    "renamed input": (renamed_input, "the input 'image' is missing"),
    "further input": (further_input, "the input 'extra' is not one that the manifest binds"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_forged_graph_is_refused_by_its_file(forgery, picture, fault):
    change, words = FAULTS[fault]
    change(forgery)
    path = forgery.commit() / "graph.onnx"
    for arguments in (("detect", forgery.path, picture), ("verify", forgery.path)):
        said = sentence(*arguments)
        assert said.startswith(f"Error: {path} is refused: ") and words in said
        assert said.endswith("; export the bundle again")


def test_external_data_behind_a_link(forgery, picture, tmp_path):
    forgery.refer_to("w.bin")
    data = forgery.commit({"w.bin": bytes(16)}) / "w.bin"
    data.rename(tmp_path / "secret")
    data.symlink_to(tmp_path / "secret")
    for arguments in (("detect", forgery.path, picture), ("verify", forgery.path)):
        assert f"{data} is a symbolic link" in sentence(*arguments)


def test_input_of_another_type(forgery, picture):
    forgery.model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    forgery.commit()
    for arguments in (("detect", forgery.path, picture), ("verify", forgery.path)):
        said = sentence(*arguments)
        assert "'image' as float32 of shape (batch, 32, 32, 3) and the manifest binds uint8" in said
