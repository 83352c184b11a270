"""Make what is measured, in a process of its own, so that nothing of torch weighs on the rest.

    python -m cad_edge_studies.cl_anomaly_full_size.build FOLDER

reads ``dimensions.json`` in ``FOLDER`` and leaves there

    base/              the base model
    artifacts/         a family of tasks
    stream.json        the tasks' folders of good parts, which eight-bit ranges are measured on
    frames.npy         a frame of every task
    prompt.json        the prompt around an image, for transformers
    bundle-fp32/       the first task, then all of them as a second version
    bundle-uint8/      the family in eight bits, or refused-uint8.txt with the exporter's sentence

What is there already is not made again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from cad_edge.errors import CadEdgeError
from cad_edge.store.artifact import list_artifacts
from cad_edge.store.bundle import Bundle
from cad_edge_studies.cl_anomaly_full_size.artifacts import pictures, write_stream, write_tasks
from cad_edge_studies.cl_anomaly_full_size.base_model import write_base, write_prompt
from cad_edge_studies.cl_anomaly_full_size.dimensions import Dimensions, read_dimensions

if TYPE_CHECKING:
    from cad_edge_export.plan import ExportPlan

FLOAT: Final = "fp32"
ROUNDED: Final = "uint8"
"""Precisions of the bundles."""
PYTHON = (sys.executable, "-m", "cad_edge_studies.cl_anomaly_full_size.build")
"""How this is started; the folder follows."""


def main(folder: str) -> None:
    """Make it."""
    place = Path(folder)
    dimensions = read_dimensions(place / "dimensions.json")
    write_base(place / "base", dimensions)
    _write_tasks(place, dimensions)
    learned = list_artifacts(place / "artifacts")
    for count in (1, len(learned)):
        _export(learned[:count], place, FLOAT)
    _export_rounded(learned, place)


def bundle_of(place: Path, precision: str) -> Path:
    """Folder of the bundle of a precision."""
    return place / f"bundle-{precision}"


def refusal_of(place: Path, precision: str) -> Path:
    """File with what the exporter said instead of exporting."""
    return place / f"refused-{precision}.txt"


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


def _export(learned: Sequence[Path], place: Path, precision: str) -> None:
    """Add tasks to the bundle of a precision; nothing if it has them."""
    from cad_edge_export.exporter import export_artifacts

    bundle = Bundle(bundle_of(place, precision))
    if bundle.exists() and len(bundle.manifest().tasks) >= len(learned):
        return
    export_artifacts(list(learned), bundle.path, _plan(place, precision), _say)


def _plan(place: Path, precision: str) -> "ExportPlan":
    from cad_edge_export.plan import ExportPlan

    backbone = f"llava:{place / 'base'}"
    if precision == FLOAT:
        return ExportPlan(backbone=backbone, explanations=False)
    return ExportPlan(
        precision=ROUNDED, backbone=backbone, explanations=False, calibration=place / "stream.json"
    )


def _export_rounded(learned: Sequence[Path], place: Path) -> None:
    refused = refusal_of(place, ROUNDED)
    refused.unlink(missing_ok=True)
    try:
        _export(learned, place, ROUNDED)
    except CadEdgeError as problem:
        refused.write_text(str(problem), encoding="utf-8")


def _say(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"{what} ({done} of {total})\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(sys.argv[1])
