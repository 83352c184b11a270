"""`cad-edge check --stream FILE|DIR`: look at all images of a line before anything is learned."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cad_edge import __version__, options
from cad_edge.data.products import read_products
from cad_edge.data.stream import Stream
from cad_edge.deprecated_options import deprecated
from cad_edge.schema import canonical_json
from cad_edge_benchmarks.check.report import check_document
from cad_edge_benchmarks.reporting.document import text
from cad_edge_benchmarks.reporting.report_files import check_report, write_report

if TYPE_CHECKING:
    from cad_edge_training.check.findings import CheckReport


@click.command("check")
@options.stream
@options.out_report
@deprecated("--html", "--out", meant=lambda page: page.parent)
@deprecated("--json", "--out")
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings, too.")
def check(stream: Path, out: Path | None, strict: bool) -> None:
    """Look for faults in the images of a stream before anything is learned.

    Errors: test images that are in training too, files that cannot be read, masks that fit no
    image. Warnings and notes: copies, outliers among the good parts, sizes and pixel types that
    differ, brightness that drifts, and too few parts for the stated false-reject rate. The exit
    status is 1 where there is an error.
    """
    # Before torch loads its threads, as for `cad-edge train`.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    products = read_products(stream)
    if out is not None:
        check_report("--out", out)
    report = check_stream(products)
    document = check_document(report)
    click.echo(text(document))
    if out is not None:
        for path in write_report(out, "check", document, canonical_json(report)):
            click.echo(f"wrote {path}", err=True)
    counts = report.counts()
    if counts["error"] or (strict and counts["warning"]):
        raise click.exceptions.Exit(1)


def check_stream(stream: Stream) -> "CheckReport":
    """Check every product of a stream, with a progress bar."""
    from cad_edge_training.backbones import DEFAULT_BACKBONE, load_backbone
    from cad_edge_training.check.findings import CheckReport
    from cad_edge_training.check.product import CheckOptions, check_product
    from cad_edge_training.commands import progress_bars

    shared = CheckOptions(load_backbone(DEFAULT_BACKBONE), stream.false_reject_rate)
    with progress_bars() as progress:
        products = [check_product(task, shared, progress(task.name)) for task in stream.tasks]
    return CheckReport(
        stream=stream.name,
        false_reject_rate=stream.false_reject_rate,
        version=__version__,
        products=tuple(products),
    )
