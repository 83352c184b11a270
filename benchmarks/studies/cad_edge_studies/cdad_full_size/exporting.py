"""Export the graphs of a drawn network one after the other, and run each once beside torch.

    python -m cad_edge_studies.cdad_full_size.exporting PIPELINE GRAPHS SIDE THREADS

prints JSON: of each graph its bytes, seconds and largest difference, and the process's peak memory.
Graphs stay in the folder ``GRAPHS``.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cad_edge.onnxruntime_installation import load_onnxruntime, open_session
from cad_edge_benchmarks.instruments.memory import peak_rss
from cad_edge_export.fused_task import FusedTask, StageModule
from cad_edge_export.fusions.cdad.fusion import shared_stages
from cad_edge_export.graph_files import GRAPH
from cad_edge_export.onnx_graph import to_onnx
from cad_edge_studies.procedural_rgbd_line.scenes import render
from cad_edge_training.backbones import load_backbone
from cad_edge_training.methods.cdad.config import Config, defaults_for
from cad_edge_training.methods.cdad.form import Reconstructor
from cad_edge_training.methods.cdad.forms import form_of
from cad_edge_training.methods.cdad.model import CDAD
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.sampler import begin

PART = "gear"
NAMES = ("encoder", "condition", "unet", "judge")
"""Of the graphs, in the order of their stages; that of the U-Net is run for every step."""


def main(pipeline: str, graphs: str, side: str, threads: str) -> None:
    """Export, compare and print."""
    torch.set_num_threads(int(threads))
    model = drawn_model(f"sd:{pipeline}", int(side))
    shown = torch.from_numpy(render(PART, (0, 0), None, int(side)).rgb)[None]
    with torch.inference_mode():
        fused = shared_stages(model, "fp32", "full size")
        references = answers(model, shown)
    found = {}
    for name, stage in zip(NAMES, distinct(fused), strict=True):
        folder = Path(graphs) / name
        found[name] = exported(stage, folder)
        given = given_to(stage, fused, shown, references)
        found[name] |= compared(folder, given, references[name], int(threads))
    weights = sum(one.numel() for one in model.network.parameters())
    sys.stdout.write(
        json.dumps({"graphs": found, "network_weights": weights, "peak_bytes": peak_rss()}) + "\n"
    )


def drawn_model(backbone: str, side: int) -> CDAD:
    """Return a model that has learned nothing: the folder's U-Net, and AMN as it is drawn."""
    form = form_of(load_backbone(backbone, side), Config.model_validate(defaults_for(backbone)))
    nothing = Parts(torch.zeros(0), torch.zeros(0, dtype=torch.uint8))
    start = form.start(None, nothing, 0)
    for one in start.network.parameters():
        one.requires_grad_(False)
    return CDAD(form, Reconstructor(start.space, start.network, start.noise)).eval()


def distinct(fused: FusedTask) -> Iterable[StageModule]:
    """Return stages of different graphs, the first of each, in their order."""
    found: dict[str, StageModule] = {}
    for stage in fused.stages:
        found.setdefault(str(stage.shared_key), stage)
    return found.values()


def answers(model: CDAD, shown: Tensor) -> dict[str, dict[str, Tensor]]:
    """Return what torch says, by layers of diffusers, of one frame and of the first step."""
    backbone, network, step = model.backbone, model.network, model.sampling.steps[0]
    states = backbone.run(backbone.normalise(shown), backbone.n_blocks - 1)
    latents, last = states[backbone.n_blocks - 1], max(backbone.routing_blocks)
    x, (added, _) = begin(latents, model.noise, model.sampling), network.amn(shown)
    biases = network.unet.time_biases(torch.tensor([step.time]))
    moved = step.keep * x + step.take * network.unet(x, biases, added)
    score, located = model.form.verdict(latents, moved)
    return {
        "encoder": {"hidden": states[last]},
        "condition": {"latents": latents, "x": x, "added": added},
        "unet": {"next": moved},
        "judge": {"score": score, "anomaly_map": located},
    }


def given_to(
    stage: StageModule,
    fused: FusedTask,
    shown: Tensor,
    references: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, Any]:
    """Return inputs of a stage for one frame; the last step answers as the first one."""
    known = {name: value for one in references.values() for name, value in one.items()}
    known |= {"image": shown, "restored": known["next"]}
    tensors = fused.bound()
    return {
        one.name: tensors[one.source.removeprefix("tensor/")]
        if one.source.startswith("tensor/")
        else known[one.name].numpy()
        for one in stage.inputs
    }


def exported(stage: StageModule, folder: Path) -> dict[str, Any]:
    """Write a graph; bytes of its files, seconds, and the peak memory so far."""
    begun = perf_counter()
    graph = to_onnx(stage)
    seconds = perf_counter() - begun
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in graph.items():
        (folder / name).write_bytes(data)
    sizes = {name: len(data) for name, data in graph.items()}
    return {"bytes": sizes, "export_seconds": round(seconds, 1), "peak_bytes": peak_rss()}


def compared(
    folder: Path, given: Mapping[str, Any], expected: Mapping[str, Tensor], threads: int
) -> dict[str, float]:
    """Largest difference to torch over the largest value, of all answers; seconds of one call."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = open_session(onnxruntime, str(folder / GRAPH), options, ["CPUExecutionProvider"])
    begun = perf_counter()
    got = session.run(list(expected), dict(given))
    seconds = perf_counter() - begun
    largest = max(
        float(np.abs(one - wanted.numpy()).max() / wanted.abs().max())
        for one, wanted in zip(got, expected.values(), strict=True)
    )
    return {"difference": largest, "call_seconds": round(seconds, 2)}


if __name__ == "__main__":
    main(*sys.argv[1:])
