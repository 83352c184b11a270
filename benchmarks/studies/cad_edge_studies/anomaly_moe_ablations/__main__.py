"""Ablations of AnomalyMoE side by side, and how its levels are weighted in each of them.

    python -m cad_edge_studies.anomaly_moe_ablations FOLDER... [--out FILE]

``FOLDER`` is what `cad-edge protocol` made of a study file here.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from cad_edge.store.artifact import list_artifacts, read_artifact
from cad_edge_benchmarks.instruments.metrics import mean_defined
from cad_edge_benchmarks.protocol.study import folder_name
from cad_edge_benchmarks.reporting.tables import figure, text_table, write_result
from cad_edge_benchmarks.reporting.targets import Target, targets_table
from cad_edge_studies.open_category_study import RESULTS, Study, made_with
from cad_edge_training.methods.anomaly_moe.config import LEVELS
from cad_edge_training.methods.anomaly_moe.model import PRODUCT_GATES

RESULT = RESULTS / "anomaly-moe-ablations.json"
FIGURES = ("detection_rate", "false_reject_rate", "image_auroc", "pixel_auroc")
DRAWN, COMPARABLE = "drawn", "comparable losses"
"""The study file, and its learner, whose gates have a target."""

Rows = Mapping[str, Mapping[str, Any]]
"""By learner: figures, and gates by product and level."""


@click.command("anomaly_moe_ablations", cls=Study)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=RESULT, show_default=False)
def main(folders: tuple[Path, ...], out: Path) -> None:
    """Lay the learners of FOLDERS beside each other."""
    studies = {folder.name: rows_of(folder) for folder in folders}
    targets = must_reach(studies)
    record = {"studies": studies, "must_reach": [target.record() for target in targets]}
    write_result(out, {**made_with(), **record})
    for name, rows in studies.items():
        click.echo(f"{name}\n{table(rows)}\n")
    click.echo(targets_table(targets))


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the report of a study and the gates of what its first run learned."""
    report = json.loads((folder / "protocol.json").read_text("utf-8"))
    run = next((folder / "runs").iterdir())
    return {
        name: {figure: found["summary"][figure]["mean"] for figure in FIGURES}
        | {"gates": gates_in(run / folder_name(name) / "learned")}
        for name, found in report["learners"].items()
    }


def gates_in(learned: Path) -> dict[str, dict[str, float]]:
    """By product the gate of each level, the sum over its experts."""
    tasks = [read_artifact(path) for path in list_artifacts(learned)]
    return {
        task.artifact.task: dict(zip(LEVELS, level_gates(task.tensors[PRODUCT_GATES]), strict=True))
        for task in tasks
    }


def level_gates(gates: np.ndarray[Any, Any]) -> list[float]:
    """Sum gates (levels * experts,) by level."""
    found: list[float] = gates.reshape(len(LEVELS), -1).sum(1).astype(float).tolist()
    return found


def smallest_gate(gates: Mapping[str, Mapping[str, float]]) -> float | None:
    """Smallest gate of a level, the mean over products."""
    return mean_defined([min(levels.values()) for levels in gates.values()])


def must_reach(studies: Mapping[str, Rows]) -> list[Target]:
    """Whether comparable losses leave every level its share."""
    rows = studies.get(DRAWN, {})
    if COMPARABLE not in rows:
        return []
    least = smallest_gate(rows[COMPARABLE]["gates"])
    return [Target("drawn, smallest gate of a level, mean over products", "at least", 0.1, least)]


def table(rows: Rows) -> str:
    """Figures of every learner in the mean, and the mean gate of each level."""
    head = ["", "found", "rejected", "AUROC", "pixel", *LEVELS, "smallest"]
    return text_table(head, [_cells(name, row) for name, row in rows.items()])


def _cells(name: str, row: Mapping[str, Any]) -> Sequence[str]:
    gates = row["gates"]
    means = [mean_defined([one[level] for one in gates.values()]) for level in LEVELS]
    values = [*(row[one] for one in FIGURES), *means, smallest_gate(gates)]
    return [name, *map(figure, values)]


if __name__ == "__main__":
    main()
