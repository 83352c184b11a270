"""Make what is measured, in a process of its own, so that nothing of torch weighs on the rest.

    python -m cad_edge_studies.cl_anomaly_full_size.build FOLDER DIMENSIONS

leaves in ``FOLDER``, for dimensions in JSON,

    base/              the base model
    artifacts/         a family of tasks
    stream.json        the tasks' folders of good parts, which eight-bit ranges are measured on
    frames.npy         a frame of every task
    prompt.json        the prompt around an image, for transformers
    bundle-fp32/       the first task, then all of them as a second version
    bundle-uint8/      the family in eight bits, or refused-uint8.txt with the exporter's sentence

What is there already is not made again.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

import numpy as np

from cad_edge.errors import CadEdgeError
from cad_edge.store.artifact import list_artifacts
from cad_edge.store.bundle import Bundle
from cad_edge_benchmarks.instruments.subprocess_worker import Launch, run
from cad_edge_studies.cl_anomaly_full_size.artifacts import pictures, write_stream, write_tasks
from cad_edge_studies.cl_anomaly_full_size.base_model import Dimensions, write_base, write_prompt

FLOAT: Final = "fp32"
ROUNDED: Final = "uint8"
"""Precisions of the bundles."""


def build(place: Path, dimensions: Dimensions) -> None:
    """Make in ``place`` what is measured, unless it is there."""
    arguments = ("-m", "cad_edge_studies.cl_anomaly_full_size.build", place)
    size = json.dumps(asdict(dimensions))
    # Threads that wait sleep, as in every learning: the machine may be shared.
    run(Launch("the build", (*arguments, size), place, {"OMP_WAIT_POLICY": "PASSIVE"}))


def bundle_of(place: Path, precision: str) -> Path:
    """Folder of the bundle of a precision."""
    return place / f"bundle-{precision}"


def refusal_of(place: Path, precision: str) -> Path:
    """File with what the exporter said instead of exporting."""
    return place / f"refused-{precision}.txt"


def main(folder: str, size: str) -> None:
    """Make it."""
    place, dimensions = Path(folder), Dimensions(**json.loads(size))
    write_base(place / "base", dimensions)
    _write_tasks(place, dimensions)
    learned = list_artifacts(place / "artifacts")
    for count in (1, len(learned)):
        _export(learned[:count], place, FLOAT)
    refused = refusal_of(place, ROUNDED)
    refused.unlink(missing_ok=True)
    try:
        _export(learned, place, ROUNDED)
    except CadEdgeError as problem:
        refused.write_text(str(problem), encoding="utf-8")


def _write_tasks(place: Path, dimensions: Dimensions) -> None:
    if (place / "prompt.json").exists():
        return
    from cad_edge_training.backbones.llava import load_llava
    from cad_edge_training.methods.cl_anomaly.config import Config

    base, config = load_llava(str(place / "base")), Config()
    write_tasks(place / "artifacts", base, config, dimensions.names)
    write_stream(place / "stream.json", dimensions)
    shown = [pictures(task, dimensions.side, 1, seed=1) for task in range(dimensions.tasks)]
    np.save(place / "frames.npy", np.concatenate(shown))
    write_prompt(place / "prompt.json", base, config.question)


def _export(learned: Sequence[Path], place: Path, precision: Literal["fp32", "uint8"]) -> None:
    """Add tasks to the bundle of a precision; nothing if it has them."""
    from cad_edge_export.exporter import export_artifacts
    from cad_edge_export.plan import ExportPlan

    bundle = Bundle(bundle_of(place, precision))
    if bundle.exists() and len(bundle.manifest().tasks) >= len(learned):
        return
    plan = ExportPlan(
        precision=precision,
        backbone=f"llava:{place / 'base'}",
        explanations=False,
        calibration=None if precision == FLOAT else place / "stream.json",
    )
    export_artifacts(list(learned), bundle.path, plan, lambda what, done, total: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
