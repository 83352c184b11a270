"""Modules of CMPMB, alpha and layer side by side, and how each differs from the published form.

    python -m cad_edge_studies.cmpmb_modules FOLDER [STREAM] [--out FILE]

``FOLDER`` is what `cad-edge protocol` made of the study file here, ``STREAM`` what it made of the
published form measured after every step, for what is forgotten.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cad_edge_benchmarks.protocol.summary import spread
from cad_edge_benchmarks.reporting.tables import text_table, write_result
from cad_edge_studies.open_category_study import RESULTS, Study, made_with

RESULT = RESULTS / "cmpmb-clip.json"
PUBLISHED = "CMPMB"
"""The learner that every other one differs from by one thing."""
FIGURES = ("detection_rate", "false_reject_rate", "image_auroc", "pixel_auroc")
DIFFERENCE = "differs_by"

Rows = Mapping[str, Mapping[str, Any]]
"""By learner and figure, mean and deviation over seeds; differences by figure likewise."""


@click.command("cmpmb_modules", cls=Study)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("stream", required=False, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
def main(folder: Path, stream: Path | None, out: Path) -> None:
    """Lay the learners of FOLDER beside each other."""
    report = read_report(folder)
    rows = rows_of(report)
    record = {"false_reject_rate": report["plan"]["false_reject_rate"], "learners": rows}
    if stream is not None:
        record["forgetting"] = forgetting(read_report(stream))
    settings = report["plan"]["learners"][PUBLISHED]
    write_result(out, {**made_with(), PUBLISHED: settings, **record})
    click.echo(table(rows))


def read_report(folder: Path) -> dict[str, Any]:
    """Read what `cad-edge protocol` wrote."""
    report: dict[str, Any] = json.loads((folder / "protocol.json").read_text("utf-8"))
    return report


def forgetting(report: Mapping[str, Any]) -> dict[str, Any]:
    """FM (Eq. 17) of image and pixel AUROC, of the one learner of a report."""
    (found,) = report["learners"].values()
    return {name: found["summary"][name] for name in ("fm", "pixel_fm")}


def rows_of(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures of every learner, and run by run its differences from the published form."""
    runs = {name: figures_of(found["runs"]) for name, found in report["learners"].items()}
    published = runs[PUBLISHED]
    rows: dict[str, dict[str, Any]] = {}
    for name, theirs in runs.items():
        rows[name] = {one: vars(spread(values)) for one, values in theirs.items()}
        if name != PUBLISHED:
            rows[name][DIFFERENCE] = {
                one: vars(spread(differences(values, published[one])))
                for one, values in theirs.items()
            }
    return rows


def figures_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Figures of each run after its last step: rates over all images, AUROC as means of tasks."""
    found = {
        "detection_rate": [run["all_parts"]["detection_rate"] for run in runs],
        "false_reject_rate": [run["all_parts"]["false_reject_rate"] for run in runs],
    }
    for name in ("image_auroc", "pixel_auroc"):
        found[name] = [run["continual"][name]["a_auroc"] for run in runs]
    return found


def differences(
    values: Sequence[float | None], others: Sequence[float | None]
) -> list[float | None]:
    """Differences run by run; None where one is undefined."""
    return [
        None if one is None or other is None else one - other
        for one, other in zip(values, others, strict=True)
    ]


def separable(difference: Mapping[str, Any]) -> bool:
    """Say whether a difference is larger than twice its deviation over seeds."""
    mean, deviation = difference["mean"], difference["deviation"]
    return deviation is not None and abs(mean) > 2 * deviation


def table(rows: Rows) -> str:
    """Every learner, and by how much more of the defects it finds; a star where it is separable."""
    head = ["", "found", "rejected", "AUROC", "pixel", "found, difference", "AUROC, difference"]
    return text_table(head, [_cells(name, row) for name, row in rows.items()])


def _cells(name: str, row: Mapping[str, Any]) -> list[str]:
    cells = [name, *(_shown(row[one]) for one in FIGURES)]
    if DIFFERENCE not in row:
        return [*cells, "", ""]
    for one in ("detection_rate", "image_auroc"):
        difference = row[DIFFERENCE][one]
        cells.append(_shown(difference, "+") + (" *" if separable(difference) else ""))
    return cells


def _shown(figure: Mapping[str, Any], sign: str = "") -> str:
    if figure["mean"] is None:
        return "-"
    deviation = figure["deviation"]
    return f"{figure['mean']:{sign}.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


if __name__ == "__main__":
    main()
