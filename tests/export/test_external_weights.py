"""Graphs whose weights lie beside them: the same answers, and the runtime opens them."""

import numpy as np
import onnx
import pytest
import torch

from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import Stage
from cad_edge_export import graph_files, onnx_graph
from cad_edge_export.certificate import run_chain
from cad_edge_export.fused_task import FusedTask, GraphInput, StageModule
from cad_edge_export.graph_files import GRAPH, WEIGHTS, open_graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_runtime import session
from cad_edge_runtime.graph_check import check_graph
from cad_edge_runtime.session import SessionFactory


class Sum(torch.nn.Module):
    """image -> score by two layers, the second of them small."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.wide, self.narrow = torch.nn.Linear(192, 64), torch.nn.Linear(64, 1)

    def forward(self, image):
        return self.narrow(self.wide(image.float().flatten(1)).relu()).flatten()


@pytest.fixture(scope="module")
def stage() -> StageModule:
    example = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    image = GraphInput("image", "frame/image", example, (0,))
    return StageModule(Sum().eval(), (image,), ("score",), "sum")


@pytest.fixture(scope="module")
def beside(stage) -> graph_files.Graph:
    return to_onnx(stage, inline=1000)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)


def test_a_small_graph_is_one_file(stage):
    assert set(to_onnx(stage)) == {GRAPH}


def test_large_weights_start_at_pages_of_a_file_of_their_own(beside):
    assert set(beside) == {GRAPH, WEIGHTS} and len(beside[GRAPH]) < 4096
    model = onnx.load_from_string(beside[GRAPH])
    moved = [one for one in model.graph.initializer if one.external_data]
    places = [{entry.key: entry.value for entry in one.external_data} for one in moved]
    assert len(places) == 1 and places[0]["location"] == WEIGHTS
    assert all(int(place["offset"]) % 4096 == 0 for place in places)
    assert len(beside[WEIGHTS]) == 192 * 64 * 4


def test_equal_modules_give_equal_files(stage, beside):
    assert to_onnx(stage, inline=1000) == beside


def test_answers_are_those_of_the_graph_in_one_piece(stage, beside, images):
    fused = FusedTask((stage,))
    whole, split = (run_chain(fused, [graph], images) for graph in (to_onnx(stage), beside))
    np.testing.assert_array_equal(whole.score, split.score)
    with torch.inference_mode():
        expected = stage.module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(split.score, expected, rtol=1e-4)


def test_an_open_graph_needs_no_file(beside, images):
    opened = open_graph(beside)
    assert opened.run(["score"], {"image": images})[0].shape == (3,)


def test_runtime_opens_it_out_of_a_bundle(beside, images, tmp_path):
    bundle = Bundle(tmp_path / "bundle")
    sha = bundle.add_object(beside)
    assert Stage(graph=sha, inputs={}).graph == sha
    check_graph(bundle.object_folder(sha), ["image"], ["score"])
    opened = SessionFactory("cpu", 1, bundle).create(sha, ["image"], ["score"])
    (got,) = opened.run(["score"], {"image": images})
    np.testing.assert_array_equal(got, open_graph(beside).run(["score"], {"image": images})[0])


def test_sessions_of_large_graphs_share_an_arena(stage, beside, images, tmp_path, monkeypatch):
    """What is asked of ONNX Runtime, and the same answers; a small graph is opened as ever."""
    asked = []
    inner = session._options

    def watched(onnxruntime, threads, one_arena):
        asked.append(inner(onnxruntime, threads, one_arena))
        return asked[-1]

    monkeypatch.setattr(session, "_options", watched)
    bundle = Bundle(tmp_path / "bundle")
    factory = SessionFactory("cpu", 1, bundle)
    answers = []
    for graph in (to_onnx(stage), beside):
        opened = factory.create(bundle.add_object(graph), ["image"], ["score"])
        answers.append(opened.run(["score"], {"image": images})[0])
    np.testing.assert_array_equal(*answers)
    small, large = asked
    key = "session.use_env_allocators"
    assert small.enable_mem_pattern and not large.enable_mem_pattern
    assert large.get_session_config_entry(key) == "1"
    with pytest.raises(RuntimeError, match=key):
        small.get_session_config_entry(key)


def test_64_mebibytes_are_the_limit():
    assert graph_files.INLINE_BYTES == 2**26 < onnx.checker.MAXIMUM_PROTOBUF
    assert onnx_graph.to_onnx.__defaults__ == (graph_files.INLINE_BYTES,)
