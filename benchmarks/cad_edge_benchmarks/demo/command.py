"""`cad-edge demo`: from photographs to a report, over the same commands that a user types."""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cad_edge import options
from cad_edge.errors import CadEdgeError, OptionError
from cad_edge.schema import canonical_json
from cad_edge.store.bundle import Bundle
from cad_edge.store.trust import ignoring_trusted_keys
from cad_edge_benchmarks.demo.device import inspect, read_inspections
from cad_edge_benchmarks.demo.report import demo_document
from cad_edge_benchmarks.demo.results import DemoReport
from cad_edge_benchmarks.demo.surfaces import DemoLine, write_line
from cad_edge_benchmarks.instruments.bundle_contents import task_bytes
from cad_edge_benchmarks.instruments.command_runner import folder_bytes
from cad_edge_benchmarks.instruments.machine import describe_machine, usable_cores, versions
from cad_edge_benchmarks.instruments.probe import Probe, probe
from cad_edge_benchmarks.reporting.document import text
from cad_edge_benchmarks.reporting.report_files import write_report

_ENTRY = "from cad_edge.cli import main; main()"
_MARK = ".cad-edge-demo"  # tells a folder of the demo from one that holds somebody's files
_REPORT = "report"
_PARTS = ("images", "artifacts", "bundle", "inspections")


@click.command("demo")
@options.out_folder(Path("demo"))
@options.seed()
def demo(out: Path, seed: int) -> None:
    """Learn three real surfaces, inspect them and write a report, in minutes.

    Images, bundle and report.html go to --out; an earlier demo there is replaced.
    """
    click.get_current_context().with_resource(ignoring_trusted_keys())
    prepare_folder(out)
    steps: dict[str, float] = {}
    with _step("Cutting photographs into windows, drawing defects", steps, "cut windows"):
        line = write_line(out / "images", seed)
    commands = command_lines(out, line, seed)
    with _step("Learning three products from good windows", steps, "learn"):
        _run(commands[1])
    with _step("Exporting them for the device, comparing with training", steps, "export"):
        _run(commands[2])
    bundle, inspections = out / "bundle", out / "inspections"
    with _step("Inspecting the held-out windows, without torch", steps, "inspect"):
        inspect(bundle, line.stream, line.unknown, inspections)
        started = probe(bundle, next(iter(sorted(line.unknown.iterdir()))), usable_cores())
    with _step("Writing the report", steps, "report"):
        report = gather(bundle, inspections, started, seed, steps, commands)
        document = demo_document(report)
        write_report(out, _REPORT, document, canonical_json(report.inspections))
    click.echo(f"\n{text(document)}\n\nReport: {out / _REPORT}.html")


def prepare_folder(out: Path) -> None:
    """Make ``out``, and empty it of an earlier demo.

    Raises
    ------
    OptionError
        The folder holds files that no demo wrote.
    """
    mark = out / _MARK
    if out.exists() and any(out.iterdir()) and not mark.is_file():
        raise OptionError(
            f"--out {out} holds files that are not of a demo; give a new or an empty folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    mark.touch()
    for part in _PARTS:
        shutil.rmtree(out / part, ignore_errors=True)
    for kind in ("json", "md", "html"):
        (out / f"{_REPORT}.{kind}").unlink(missing_ok=True)


def command_lines(out: Path, line: DemoLine, seed: int) -> tuple[list[str], ...]:
    """Arguments of `cad-edge` for each step that a user could type."""
    artifacts, bundle, stream = str(out / "artifacts"), str(out / "bundle"), str(line.stream)
    return (
        ["demo", "--out", str(out), "--seed", str(seed)],
        ["train", "--stream", stream, "--out", artifacts, "--seed", str(seed)],
        ["export", artifacts, "--bundle", bundle],
        ["detect", bundle, str(line.unknown), "--heatmaps", str(out / "heatmaps")],
        ["evaluate", bundle, "--stream", stream],
    )


def gather(
    bundle: Path,
    folder: Path,
    started: Probe,
    seed: int,
    steps: dict[str, float],
    commands: tuple[list[str], ...],
) -> DemoReport:
    """Gather what the report tells about ``bundle`` and the inspections in ``folder``."""
    inspections, maps = read_inspections(folder)
    manifest = Bundle(bundle).manifest()
    return DemoReport(
        inspections=inspections,
        maps=maps,
        manifest=manifest,
        bundle_bytes=folder_bytes(bundle),
        task_bytes={name: task_bytes(Bundle(bundle), manifest, name) for name in manifest.tasks},
        probe=started,
        seed=seed,
        machine=describe_machine(),
        versions=versions(),
        steps=dict(steps),
        commands=tuple(shlex.join(["cad-edge", *words]) for words in commands),
    )


@contextmanager
def _step(title: str, steps: dict[str, float], name: str) -> Iterator[None]:
    """Say what is being done and keep how long it took."""
    click.secho(f"[{len(steps) + 1}/5] {title}", bold=True)
    began = time.perf_counter()
    yield
    steps[name] = time.perf_counter() - began


def _run(words: list[str]) -> None:
    """Run a `cad-edge` command with its progress in this terminal; CadEdgeError if it fails."""
    click.echo(f"  {shlex.join(['cad-edge', *words])}")
    done = subprocess.run([sys.executable, "-c", _ENTRY, *words], check=False)  # noqa: S603
    if done.returncode:
        raise CadEdgeError(f"`cad-edge {words[0]}` failed, so the demo stops; its message is above")
