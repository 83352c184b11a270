"""The workstation's part of a measurement: learn and export as a user does, by `cad-edge`.

Learning and exporting run in processes of their own, so that nothing of torch weighs on what is
measured here.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from cad_edge_benchmarks.instruments.subprocess_worker import run_python

BACKBONE = "efficientnet-lite0"
"""What `cad-edge train` learns with where nothing else is asked for."""

_ENTRY = "from cad_edge.cli import main; main()"


def cad_edge(*arguments: str | Path) -> str:
    """Run one `cad-edge` command in a process of its own and return what it printed.

    Raises
    ------
    CadEdgeError
        It failed; the message is its own last line.
    """
    return run_python(f"cad-edge {arguments[0]}", "-c", _ENTRY, *arguments)


def learn(stream: Path, artifacts: Path, seed: int, options: Sequence[str] = ()) -> None:
    """Learn the tasks of ``stream`` into ``artifacts``; ``options`` are further arguments."""
    cad_edge("train", "--stream", stream, "--out", artifacts, "--seed", str(seed), *options)


def export(
    artifacts: Sequence[Path],
    bundle: Path,
    staging: Path,
    layout: str = "shared",
    selector: str = "discriminant",
    precision: str = "fp32",
    calibration: Path | None = None,
    backbone: str | None = None,
) -> None:
    """Export exactly ``artifacts`` to ``bundle``.

    Parameters
    ----------
    artifacts
        Artifact folders; what the bundle holds of them already is not exported again.
    bundle
        Created or added to.
    staging
        Folder for copies of the artifacts; emptied first.
    layout
        ``shared`` or ``fused``.
    selector
        ``discriminant`` or ``key_set``.
    precision
        One that `cad-edge export` offers.
    calibration
        Stream file of the tasks, which the eight-bit precisions need.
    backbone
        Where its weights are, if the artifacts alone do not tell.
    """
    shutil.rmtree(staging, ignore_errors=True)
    for artifact in artifacts:
        shutil.copytree(artifact, staging / artifact.name)
    options = ["--layout", layout, "--selector", selector, "--precision", precision]
    if calibration is not None:
        options += ["--calibration", str(calibration)]
    if backbone is not None:
        options += ["--backbone", backbone]
    cad_edge("export", staging, "--bundle", bundle, *options)


def folder_bytes(folder: Path) -> int:
    """Sum of the sizes of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def quiet(doing: str, done: int, total: int) -> None:
    """Show no progress, where learning or exporting runs within this process."""
