"""A worker that inspects with anomalib's own inferencers; runs in the peers' environment.

    python -m cad_edge_studies.peers.anomalib_worker RUNTIME FRAMES THREADS MODEL...

``RUNTIME`` is a key of `RUNTIMES`, ``MODEL`` a folder that `anomalib_models` wrote. Every call is
the one of anomalib's documentation, with what favours it: torch runs in inference mode, which its
inferencer does not do by itself, and the ONNX runs without anomalib being imported at all.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from cad_edge_benchmarks.instruments.inspection_worker import (
    Answer,
    Frame,
    Inspect,
    answer_inspections,
)
from cad_edge_benchmarks.instruments.worker_loop import claim_output

VERDICTS = ("normal", "anomalous")


def open_torch(model: Path, threads: int) -> Inspect:
    """Open the exported module by `TorchInferencer`."""
    # Its format is a pickle, which anomalib opens only so; the file was written a moment ago.
    os.environ["TRUST_REMOTE_CODE"] = "1"
    import torch
    from anomalib.deploy import TorchInferencer

    torch.set_num_threads(threads)
    inferencer = TorchInferencer(model / "weights" / "torch" / "model.pt", device="cpu")

    def inspect(frame: Frame, task: str | None) -> Answer:
        with torch.inference_mode():
            found = inferencer.predict(frame)
        return Answer(VERDICTS[found.pred_label.item()], found.anomaly_map.numpy()[0])

    return inspect


def open_openvino(
    model: Path, threads: int, precision: str | None = None, folder: str = "."
) -> Inspect:
    """Open an OpenVINO export below ``folder`` by `OpenVINOInferencer`.

    Without ``precision`` it computes as it comes, which on some processors is in bfloat16.
    """
    from anomalib.deploy import OpenVINOInferencer

    config: dict[str, object] = {"INFERENCE_NUM_THREADS": threads}
    if precision is not None:
        config["INFERENCE_PRECISION_HINT"] = precision
    path = model / folder / "weights" / "openvino" / "model.xml"
    inferencer = OpenVINOInferencer(path, device="CPU", config=config)

    def inspect(frame: Frame, task: str | None) -> Answer:
        found = inferencer.predict(frame)
        return Answer(VERDICTS[found.pred_label.item()], found.anomaly_map[0, 0])

    return inspect


def open_onnxruntime(model: Path, threads: int) -> Inspect:
    """Open the ONNX export in ONNX Runtime, prepared as `OpenVINOInferencer` prepares."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that went on spinning between turns would slow down whoever is next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(
        model / "weights" / "onnx" / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    source = session.get_inputs()[0].name

    def inspect(frame: Frame, task: str | None) -> Answer:
        image = (frame.astype(np.float32) / 255.0)[None].transpose(0, 3, 1, 2)
        label, anomaly_map, _, _ = session.run(
            ["pred_label", "anomaly_map", "pred_mask", "pred_score"], {source: image}
        )
        return Answer(VERDICTS[label.item()], anomaly_map[0, 0])

    return inspect


RUNTIMES: dict[str, Callable[[Path, int], Inspect]] = {
    "torch": open_torch,
    "openvino": open_openvino,
    "openvino-f32": partial(open_openvino, precision="f32"),
    "openvino-int8": partial(open_openvino, folder="int8"),
    "onnxruntime": open_onnxruntime,
}
"""Ways to run a model of anomalib; ``openvino-int8`` is the export that anomalib quantised."""


def main(runtime: str, frames: str, threads: str, *models: str) -> None:
    """Open every model and answer."""
    output = claim_output()
    opened = [RUNTIMES[runtime](Path(model), int(threads)) for model in models]
    answer_inspections(frames, opened, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
