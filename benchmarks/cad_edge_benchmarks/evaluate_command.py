"""`cad-edge evaluate BUNDLE --stream FILE`: figures of a bundle on the test images of a stream."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from cad_edge.calibration import Calibration
from cad_edge.errors import DatasetError, OptionError
from cad_edge.manifest import Manifest
from cad_edge.stream import Stream, StreamTask, read_stream
from cad_edge_benchmarks.evaluation import TaskEvaluation, evaluate_task, mean_of
from cad_edge_benchmarks.tables import figure, text_table, write_result
from cad_edge_runtime import Detector

COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
    "routing_normal": "routed good",
    "routing_defective": "routed defective",
    "false_reject_rate": "false rejects",
    "detection_rate": "defects found",
}
"""Figures of the printed tables, with their headings."""


@click.command("evaluate")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--stream",
    "stream_file",
    required=True,
    type=click.Path(path_type=Path),
    help="Stream file that lists the tasks with their test images.",
)
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Also write the figures there."
)
@click.option("--device", default="auto", show_default=True, help="As for `cad-edge detect`.")
@click.option("--threads", type=int, help="Threads of the runtime; all cores without it.")
def evaluate(
    bundle: Path, stream_file: Path, json_path: Path | None, device: str, threads: int | None
) -> None:
    """Measure BUNDLE on the test images of a stream, every image routed on its own."""
    stream = read_stream(stream_file)
    if json_path is not None:
        _check_place(json_path)
    with Detector.open(bundle, device=device, threads=threads, watch=False) as detector:
        tasks = evaluate_stream(detector, stream)
    click.echo(evaluation_table(tasks))
    if json_path is not None:
        write_result(json_path, evaluation_result(tasks))


def _check_place(path: Path) -> None:
    """Say before minutes of measuring that the figures could not be written."""
    above = next(place for place in path.absolute().parents if place.exists())
    if path.is_dir() or not above.is_dir():
        culprit = f"{path} is a folder" if path.is_dir() else f"{above} is a file"
        raise OptionError(f"--json {path} cannot be written ({culprit}); give the name of a file")


def evaluate_stream(detector: Detector, stream: Stream) -> dict[str, TaskEvaluation]:
    """Evaluate every task of ``stream`` with a progress bar.

    Raises
    ------
    DatasetError
        The bundle lacks a task of the stream, or a task has no test images.
    """
    manifest = detector.manifest
    missing = [task.name for task in stream.tasks if task.name not in manifest.tasks]
    if missing:
        raise DatasetError(
            f"the bundle does not hold {', '.join(missing)} of the stream {stream.name}; "
            "train and export first, or shorten the stream"
        )
    tests = {task.name: task.samples().test for task in stream.tasks}
    for task in stream.tasks:
        if not tests[task.name]:
            raise DatasetError(f"{task.path} has no test images; evaluate needs test/good and more")
    evaluated: dict[str, TaskEvaluation] = {}
    with click.progressbar(
        stream.tasks,
        label="evaluating",
        item_show_func=_name_of,
        show_eta=False,
        file=sys.stderr,
    ) as tasks:
        for task in tasks:
            items = tests[task.name]
            evaluated[task.name] = evaluate_task(
                lambda frame, depth: detector.detect(frame, depth=depth),
                task.name,
                items,
                answering(manifest, all(item.depth is not None for item in items)),
            )
    return evaluated


def answering(manifest: Manifest, depth: bool) -> dict[str, Calibration]:
    """Calibration of what answers frames of each task, those with ``depth`` or those without."""
    entries = {
        name: entry if depth else entry.without_depth or entry
        for name, entry in manifest.tasks.items()
    }
    return {name: entry.calibration for name, entry in entries.items()}


def _name_of(task: StreamTask | None) -> str | None:
    return None if task is None else task.name


def evaluation_result(tasks: Mapping[str, TaskEvaluation]) -> dict[str, object]:
    """Lay out the figures as `cad-edge evaluate --json` writes them."""
    return {"tasks": {name: asdict(task) for name, task in tasks.items()}, "mean": mean_of(tasks)}


def evaluation_rows(tasks: Mapping[str, TaskEvaluation]) -> list[list[str]]:
    """One row of figures for each task and one for the mean, in the order of `COLUMNS`."""
    mean = mean_of(tasks)
    rows = [
        [name, *(figure(getattr(task, column)) for column in COLUMNS)]
        for name, task in tasks.items()
    ]
    return [*rows, ["mean", *(figure(mean[column]) for column in COLUMNS)]]


def evaluation_table(tasks: Mapping[str, TaskEvaluation]) -> str:
    """Lay out the figures for a terminal; a dash where a figure is undefined."""
    return text_table(["task", *COLUMNS.values()], evaluation_rows(tasks))
