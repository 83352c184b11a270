"""`cad-edge evaluate BUNDLE --stream FILE|DIR`: a bundle on the test images of a stream."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeAlias

import click

from cad_edge import options
from cad_edge.data.image import Frame, image_size
from cad_edge.data.mask import decode_mask
from cad_edge.data.product import LabelledImage
from cad_edge.data.products import read_products
from cad_edge.data.stream import Stream, StreamTask
from cad_edge.deprecated_options import deprecated
from cad_edge.errors import DatasetError
from cad_edge.store.manifest import Manifest, TaskEntry
from cad_edge_benchmarks.evaluate.levels import LevelCounts, LevelRecorder
from cad_edge_benchmarks.instruments.evaluation import (
    Detect,
    TaskEvaluation,
    evaluate_task,
    mean_of,
)
from cad_edge_benchmarks.instruments.verdicts import pooled
from cad_edge_benchmarks.reporting.document import Document, Markup, text
from cad_edge_benchmarks.reporting.evaluation_tables import LEVELS_SECTION, evaluation_document
from cad_edge_benchmarks.reporting.pictures import LEVEL_LEGEND
from cad_edge_benchmarks.reporting.report_files import check_report, is_file, write_report
from cad_edge_benchmarks.reporting.tables import json_of
from cad_edge_benchmarks.reporting.verdict_sentences import beside, headline
from cad_edge_runtime import Detection, Detector

Watching: TypeAlias = Callable[[str, Sequence[LabelledImage]], Detect]


@click.command("evaluate")
@options.bundle
@options.stream
@options.out_report
@deprecated("--json", "--out")
@options.device
@options.threads
@options.trusted_keys
def evaluate(
    bundle: Path, stream: Path, out: Path | None, device: str, threads: int | None
) -> None:
    """Measure how many defects BUNDLE finds in the test images of a stream.

    Printed first: defects found at the stated false-reject rate, good parts rejected by mistake
    with their 95 % interval, and the defects that the same scores would find with a perfect
    threshold. Then AUROC, AP and F1 of images, AUROC, AP and AUPRO of pixels. The product is
    recognised in every image, as on the device.
    """
    products = read_products(stream)
    if out is not None:
        check_report("--out", out)
    with Detector.open(bundle, device=device, threads=threads, watch=False) as detector:
        recorder = LevelRecorder(detector)
        tasks = evaluate_stream(detector, products, recorder.watching)
        examples = {} if out is None or is_file(out) else recorder.examples()
    result = evaluation_result(tasks, recorder.counts())
    document = evaluation_document(f"cad-edge evaluate: {bundle} on {products.name}", result)
    document = replace(document, lead=(*document.lead, images_read(tasks)))
    document = with_examples(document, examples)
    click.echo(text(document))
    if out is not None:
        for path in write_report(out, "evaluate", document, json_of(result)):
            click.echo(f"wrote {path}", err=True)


def evaluate_stream(
    detector: Detector, stream: Stream, watching: Watching | None = None
) -> dict[str, TaskEvaluation]:
    """Evaluate every task of ``stream`` with a progress bar.

    Parameters
    ----------
    detector
        Of the bundle.
    stream
        Its tasks with their test images.
    watching
        From a task and its test images, in their order, to what inspects them; None: ``detector``.

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
    for items in tests.values():
        _check_masks(items)
    evaluated: dict[str, TaskEvaluation] = {}

    def detect(frame: Frame | list[Frame], depth: Path | None) -> Detection:
        return detector.detect(frame, depth=depth)

    with click.progressbar(
        stream.tasks,
        label="evaluating",
        item_show_func=_name_of,
        show_eta=False,
        file=sys.stderr,
    ) as tasks:
        for task in tasks:
            items = tests[task.name]
            entries = answering(manifest, all(item.depth is not None for item in items))
            evaluated[task.name] = evaluate_task(
                detect if watching is None else watching(task.name, items),
                task.name,
                items,
                {name: entry.calibration for name, entry in entries.items()},
                entries[task.name].decision.false_reject_rate,
            )
    return evaluated


def _check_masks(items: Sequence[LabelledImage]) -> None:
    """Raise ImageError for a mask that cannot be used, before the first image is inspected."""
    for item in items:
        if item.mask is not None:
            decode_mask(item.mask, image_size(item.path))


def answering(manifest: Manifest, depth: bool) -> dict[str, TaskEntry]:
    """Return what answers frames of each task, those with ``depth`` or those without."""
    return {
        name: entry if depth else entry.without_depth or entry
        for name, entry in manifest.tasks.items()
    }


def _name_of(task: StreamTask | None) -> str | None:
    return None if task is None else task.name


def images_read(tasks: Mapping[str, TaskEvaluation]) -> str:
    """Say how many images the figures rest on, so that too few are seen."""
    said = (
        f"{name} {one.images_normal} good and {one.images_defective} defective "
        f"({one.images_with_mask} with a mask)"
        for name, one in tasks.items()
    )
    return f"Images read: {', '.join(said)}."


def evaluation_result(
    tasks: Mapping[str, TaskEvaluation], levels: Mapping[str, LevelCounts] | None = None
) -> dict[str, object]:
    """Lay out the figures as `cad-edge evaluate --out` writes them.

    ``levels`` are found defects by level and by kind, of the tasks whose engines name levels.
    """
    told = levels or {}
    every = list(tasks.values())
    return {
        "headline": headline(every),
        "beside": beside(every),
        "all_parts": asdict(pooled(every)),
        "mean": mean_of(tasks),
        "tasks": {
            name: asdict(task) | ({"levels": told[name]} if name in told else {})
            for name, task in tasks.items()
        },
    }


def with_examples(document: Document, examples: Mapping[str, Markup]) -> Document:
    """Add pictures of found defects, by task, to the section of what they rest on."""
    shown = (Markup(LEVEL_LEGEND), *examples.values())
    sections = [
        replace(one, blocks=(*one.blocks, *shown)) if one.key == LEVELS_SECTION else one
        for one in document.sections
    ]
    return replace(document, sections=tuple(sections))
