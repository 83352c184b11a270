"""The bare trunk as a graph of its own: what a routed frame is compared with.

It takes the same uint8 image, has the same folded weights, is exported by the same exporter and run
with the same session options, and stops at the deepest feature map that the method uses. Torch
writes it in a process of its own: ``python -m cad_edge_studies.latency.bare_trunk ARTIFACT GRAPH``.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cad_edge.data.image import Frame
from cad_edge.errors import OptionError
from cad_edge.store.artifact import Artifact, read_record
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.subprocess_worker import run_python
from cad_edge_runtime.session import SessionFactory

if TYPE_CHECKING:
    from cad_edge_training.backbones import Backbone

_MODULE = "cad_edge_studies.latency.bare_trunk"
_OUTPUT = "hidden"


@dataclass(frozen=True)
class Trunk:
    """The opened trunk."""

    run: Callable[[Frame], object]
    """Takes one (height, width, 3) uint8 frame of the recipe's size."""
    sha256: str
    last_block: int


def open_trunk(artifact: Path, store: Path, threads: int, backbone: str | None = None) -> Trunk:
    """Export the trunk of ``artifact`` into the object store ``store`` and open it.

    ``backbone`` says where its weights are, if the artifact alone does not tell.

    Raises
    ------
    CadEdgeError
        The export failed.
    """
    store.mkdir(parents=True, exist_ok=True)
    graph = store / "trunk.onnx"
    weights = [] if backbone is None else [backbone]
    said = run_python(
        "exporting the bare trunk", "-m", _MODULE, str(artifact), str(graph), *weights
    )
    bundle = Bundle(store)
    sha = bundle.add_object({"graph.onnx": graph.read_bytes()})
    session = SessionFactory("cpu", threads, bundle).create(sha, ["image"], [_OUTPUT])
    return Trunk(
        run=lambda frame: session.run([_OUTPUT], {"image": frame[None]}),
        sha256=sha,
        last_block=int(said),
    )


def last_block(artifact: Artifact, backbone: "Backbone") -> int:
    """Deepest block whose features the artifact's method uses.

    Raises
    ------
    OptionError
        It does not say which.
    """
    from cad_edge_training.method import KnowsLastBlock
    from cad_edge_training.methods import load_method, saved_config

    method = load_method(artifact.method)
    if not isinstance(method, KnowsLastBlock):
        raise OptionError(f"{artifact.method} does not say which blocks of the backbone it uses")
    config = saved_config(artifact.task, artifact.method, artifact.hyperparameters)
    return method.last_block(backbone, config)


def main(artifact: str, target: str, weights: str | None = None) -> None:
    """Write the graph; the only part that imports torch."""
    from cad_edge_export.fused_task import StageModule
    from cad_edge_export.graph_files import GRAPH
    from cad_edge_export.onnx_graph import to_onnx
    from cad_edge_export.trunk import BareTrunk, folded, image_input
    from cad_edge_training.backbones import load_backbone

    record = read_record(Path(artifact))
    backbone = load_backbone(weights or record.backbone.id, record.recipe.height)
    last = last_block(record, backbone)
    module = BareTrunk(folded(backbone), last)
    graph = to_onnx(StageModule(module, (image_input(backbone),), (_OUTPUT,)))
    Path(target).write_bytes(graph[GRAPH])
    sys.stdout.write(f"{last}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
