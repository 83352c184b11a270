"""Small tasks, learned once, and bundles of them, exported once for all tests of the exporter."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cad_edge.onnxruntime_installation import load_onnxruntime, open_session
from cad_edge_export.exporter import export_artifacts, export_folder
from cad_edge_export.fused_task import StageModule
from cad_edge_export.graph_files import Graph
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_export.plan import ExportPlan
from cad_edge_training.backbones.llava import LlavaBase, load_llava
from tests.training.small_products import NAMES, SMALL, TINY, learn, quiet, stream_of, write_stream
from tests.training.tiny_llava import save_tiny_llava
from tests.training.tiny_models import save_clip, save_dinov2


def export(
    artifacts: Path, bundle: Path, layout: str = "shared", backbone: str | None = None
) -> list[str]:
    """Export with the defaults; return the tasks added."""
    return export_folder(artifacts, bundle, ExportPlan(layout=layout, backbone=backbone), quiet)


@pytest.fixture(scope="session")
def products(tmp_path_factory) -> Path:
    """Folder of three products of texture."""
    folder = tmp_path_factory.mktemp("products")
    write_stream(folder)
    return folder


@pytest.fixture(scope="session")
def lite0(products, tmp_path_factory) -> Path:
    """Artifacts of all three on the default trunk, as its defaults but for the sizes."""
    out = tmp_path_factory.mktemp("lite0")
    learn(stream_of(products, NAMES), out, SMALL)
    return out


@pytest.fixture(scope="session")
def dinov2(tmp_path_factory) -> Path:
    """Untrained DINOv2 of three blocks' depth in use."""
    return save_dinov2(tmp_path_factory.mktemp("models") / "tiny-dinov2", side=56)


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Untrained CLIP with a tokenizer that knows the word screw."""
    return save_clip(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture(scope="session")
def tiny(products, dinov2, tmp_path_factory) -> Path:
    """Artifacts of all three on the untrained DINOv2: cheap to export again and again."""
    out = tmp_path_factory.mktemp("tiny")
    learn(stream_of(products, NAMES), out, TINY, f"dinov2:{dinov2}", 56)
    return out


@pytest.fixture(scope="session")
def tiny_first(tiny, dinov2, tmp_path_factory) -> Path:
    """Bundle of the first task of ``tiny``; copy it before changing it."""
    bundle = tmp_path_factory.mktemp("bundles") / "tiny-first"
    export_artifacts([tiny / NAMES[0]], bundle, ExportPlan(backbone=f"dinov2:{dinov2}"), quiet)
    return bundle


def _grown(layout: str, artifacts: Path, names: tuple[str, ...], folder: Path) -> tuple[Path, Path]:
    """Bundles with the first of ``names``, and with all of them added to a copy of it."""
    first = folder / f"{layout}-first"
    export_artifacts([artifacts / names[0]], first, ExportPlan(layout), quiet)
    grown = Path(shutil.copytree(first, folder / layout))
    export_artifacts([artifacts / name for name in names[1:]], grown, ExportPlan(layout), quiet)
    return first, grown


@pytest.fixture(scope="session")
def shared_pair(lite0, tmp_path_factory) -> tuple[Path, Path]:
    """``lite0`` in the shared layout: the first task alone, and all three."""
    return _grown("shared", lite0, NAMES, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def fused_pair(lite0, tmp_path_factory) -> tuple[Path, Path]:
    """``lite0`` in the fused layout: the first task alone, and the first two."""
    return _grown("fused", lite0, NAMES[:2], tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="session")
def shared(shared_pair) -> Path:
    """All three tasks of ``lite0`` in the shared layout."""
    return shared_pair[1]


@pytest.fixture(scope="session")
def fused(fused_pair) -> Path:
    """The first two tasks of ``lite0`` in the fused layout."""
    return fused_pair[1]


@pytest.fixture(scope="session")
def siglip_base(tmp_path_factory) -> LlavaBase:
    """Untrained language model that sees with a SigLIP."""
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("base") / "tiny")))


@pytest.fixture(scope="session")
def lite0_base(tmp_path_factory) -> LlavaBase:
    """The same with the tower of the embedded backbone."""
    return load_llava(str(save_tiny_llava(tmp_path_factory.mktemp("base") / "tiny", "lite0")))


@pytest.fixture(params=["siglip", "lite0"])
def either_base(request) -> LlavaBase:
    """Each of the two in turn."""
    return request.getfixturevalue(f"{request.param}_base")


@pytest.fixture(scope="session")
def graph_of() -> Callable[[StageModule], Graph]:
    """Export a stage, or give the graph of an equal one; tracing a decoder takes many seconds."""
    known: dict[str, Graph] = {}

    def of(stage: StageModule) -> Graph:
        if stage.shared_key is None:
            return to_onnx(stage)
        if stage.shared_key not in known:
            known[stage.shared_key] = to_onnx(stage)
        return known[stage.shared_key]

    return of


@pytest.fixture(scope="session")
def exact_products() -> None:
    """Skip where pairs of products are added in 16 bits: 2 * 255 * 127 is more (decision 18).

    Sessions of the project ask for exact products there, which no such machine has been seen to
    give; this one does not ask.
    """
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "weight"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])],
        [numpy_helper.from_array(np.full((64, 1), 127, np.int8), "weight")],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    onnxruntime = load_onnxruntime()
    session = open_session(
        onnxruntime, model, onnxruntime.SessionOptions(), ["CPUExecutionProvider"]
    )
    (found,) = session.run(["y"], {"x": np.full((1, 64), 255, np.uint8)})
    if found.item() != 64 * 255 * 127:
        pytest.skip("this processor has no VNNI, and products of eight bits are not exact on it")
