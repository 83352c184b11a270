"""Commands that look after a bundle on the device; none of them needs ONNX Runtime."""

import json
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

import click

from cad_edge import options
from cad_edge.calibration import Decision, decide, require_rate
from cad_edge.errors import OptionError, one_line
from cad_edge.store.bundle import Bundle
from cad_edge.store.manifest import TaskEntry
from cad_edge.store.signature import short, signer_of
from cad_edge.store.signatures import lost_expiry_notes, unsigned_note, valid_until
from cad_edge_runtime.inspection import unknown_task

Frames: TypeAlias = Literal["all", "with-depth", "without-depth"]


@click.command()
@options.bundle
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of a table.")
@options.trusted_keys
def tasks(bundle: Path, as_json: bool) -> None:
    """List the products of BUNDLE, in the order in which they were learned."""
    store = Bundle(bundle)
    manifest = store.manifest()
    found = sorted(manifest.tasks.items(), key=lambda item: (item[1].position, item[0]))
    rows = [row for name, entry in found for row in _rows(name, entry)]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    click.echo(f"{bundle}: version {manifest.version}, {len(found)} tasks, {signed_by(store)}")
    if rows:
        click.echo(_table(rows))


def signed_by(store: Bundle) -> str:
    """Say who has signed the version in force, and whether this device has checked it."""
    statement = store.statement()
    if statement is None:
        return "unsigned"
    until = f" {valid_until(statement.expires)}" if statement.expires else ""
    checked = "" if store.checks_signatures else ", not checked: no key is trusted here"
    return f"signed with the key {short(statement.key)}{until}{checked}"


def _rows(name: str, entry: TaskEntry) -> list[dict[str, object]]:
    """One row for what answers a product's frames; two where frames without depth are answered."""
    if entry.depth is None:
        return [_row(name, entry, "all")]
    with_depth = _row(name, entry, "with-depth")
    other = entry.without_depth
    return [with_depth] if other is None else [with_depth, _row(name, other, "without-depth")]


def _row(name: str, entry: TaskEntry, frames: str) -> dict[str, object]:
    decision = entry.decision
    return {
        "task": name,
        "frames": frames,
        "method": entry.method,
        "layout": entry.engine.layout,
        "precision": entry.engine.precision,
        "learned_from": entry.provenance.images,
        "false_reject_rate": decision.false_reject_rate,
        "images": decision.images,
        "groups": decision.groups,
        "images_needed": decision.images_needed,
        "supported": decision.supported,
        "outliers": [odd.model_dump(mode="json") for odd in entry.calibration.outliers],
        "threshold": decision.threshold,
        "minimum_area": decision.minimum_area,
        "recognition": entry.recognition and entry.recognition.model_dump(mode="json"),
    }


def _table(rows: list[dict[str, object]]) -> str:
    """Align words to the left, numbers to the right; groups and outliers where there are some."""
    left_out = {"recognition"}
    left_out |= {name for name in ("groups", "outliers") if not any(row[name] for row in rows)}
    rows = [{name: row[name] for name in row if name not in left_out} for row in rows]
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    words = [isinstance(value, str) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(line, widths, words, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, list):
        return str(len(value))
    return f"{value:.5g}" if isinstance(value, float) else one_line(str(value))


@click.command()
@options.bundle
@options.task(required=True)
@options.false_reject_rate()
@click.option(
    "--minimum-area",
    type=int,
    metavar="PIXELS",
    help="Area of the smallest defect to list, in square pixels [default: as it is].",
)
@click.option(
    "--frames",
    type=click.Choice(["all", "with-depth", "without-depth"]),
    default="all",
    show_default=True,
    help="Which frames the rate is for, where a product is inspected by depth as well.",
)
@options.sign
@options.expires
@options.trusted_keys
def threshold(
    bundle: Path,
    task: str,
    rate: float,
    minimum_area: int | None,
    frames: Frames,
    sign: Path | None,
    expires: datetime | None,
) -> None:
    """Set the threshold of a product of BUNDLE by another false-reject rate.

    The threshold is computed from the scores of held-out good parts, which the bundle keeps, and
    nothing is exported again. Frames with depth and frames without have a threshold each, and both
    follow the rate. Detectors that have the bundle open load the new version.
    """
    if minimum_area is not None and minimum_area < 0:
        raise OptionError(f"--minimum-area {minimum_area} is not allowed; give 0 or more")
    signer = signer_of(sign, expires)
    store = Bundle(bundle)
    store.pointer()  # a path that is no bundle is said before the lock makes a folder of it
    with store.lock():
        pointer = store.pointer()
        signed = None if signer is None else store.statement()
        manifest = store.manifest(pointer)
        before = manifest.tasks.get(task)
        if before is None:
            raise unknown_task(task, manifest.tasks)
        after = _restated(before, task, rate, minimum_area, frames)
        update = {
            "version": pointer.version + 1,
            "previous": pointer.manifest,
            "tasks": {**manifest.tasks, task: after},
        }
        version = store.commit(manifest.model_copy(update=update), signer).version
    notes = lost_expiry_notes(signed, signer, version)
    for line in [*_restatements(task, before, after, version), *notes]:
        click.echo(line)
    if pointer.signature is not None and signer is None:
        click.echo(unsigned_note(version))


def _restated(
    entry: TaskEntry, task: str, rate: float, minimum_area: int | None, frames: Frames
) -> TaskEntry:
    """Decide anew about frames with depth, frames without, or both.

    Raises
    ------
    OptionError
        There is nothing that answers the frames that were named.
    """
    other = entry.without_depth
    if frames == "with-depth" and entry.depth is None:
        raise OptionError(
            f"--frames with-depth: {task} is not inspected by its depth, so that one threshold is "
            "for all frames; leave --frames out"
        )
    if frames == "without-depth" and other is None:
        raise OptionError(
            f"--frames without-depth: nothing in the bundle answers frames of {task} without depth "
            "by a threshold of its own; leave --frames out"
        )
    changed: dict[str, object] = {}
    if frames != "without-depth":
        changed["decision"] = _decided(entry, rate, minimum_area, task)
    if other is not None and frames != "with-depth":
        again = {"decision": _decided(other, rate, minimum_area, task)}
        changed["without_depth"] = other.model_copy(update=again)
    return entry.model_copy(update=changed)


def _decided(entry: TaskEntry, rate: float, minimum_area: int | None, task: str) -> Decision:
    held_out = entry.calibration
    require_rate(rate, len(held_out.scores), held_out.groups, f"task {task}")
    area = entry.decision.minimum_area if minimum_area is None else minimum_area
    return decide(held_out, rate, area)


def _restatements(task: str, before: TaskEntry, after: TaskEntry, version: int) -> list[str]:
    """Say what has changed, and whether the rates are supported."""
    pairs = [("", before.decision, after.decision)]
    if before.without_depth is not None and after.without_depth is not None:
        old, new = before.without_depth.decision, after.without_depth.decision
        pairs = [(" with depth", *pairs[0][1:]), (" without depth", old, new)]
    lines = []
    for how, old, new in pairs:
        if old is not new:
            lines.append(
                f"{task}{how}: threshold {old.threshold:.6g} -> {new.threshold:.6g}, "
                f"version {version}"
            )
            lines.append(support_sentence(new))
    return lines


def support_sentence(decision: Decision) -> str:
    """Say how many images, or groups of them, the stated rate needs, and whether they are there."""
    what, count = "held-out images of good parts", decision.images
    there, otherwise = str(count), "the threshold is the highest score, or what its tail says"
    if decision.groups is not None:
        what, count = f"groups of {what}", decision.groups
        there, otherwise = f"{count}, of {decision.images} images", "the rate is not promised"
    stated = f"a false-reject rate of {decision.false_reject_rate:g} needs {decision.images_needed}"
    if decision.supported:
        return f"{stated} {what} and there are {there}: the rate holds."
    return (
        f"{stated} {what} but there are {there}: {otherwise}, and the smallest rate that they "
        f"support is {1 / (count + 1):.3g}."
    )
