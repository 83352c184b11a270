"""Means and deviations over orders, as a table and against what has to be reached."""

from collections.abc import Mapping, Sequence

import numpy as np

from cad_edge_benchmarks.reporting.tables import UNDEFINED, markdown_table
from cad_edge_benchmarks.reporting.targets import Target
from cad_edge_studies.cl_anomaly_comparison.figures import Run

Figures = Mapping[str, float | None]
Summary = dict[str, dict[str, object]]

COLUMNS = {
    "last": "Last",
    "avg": "Avg",
    "bwt": "BWT",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auroc": "AUROC",
}


def summary(runs: Mapping[str, Sequence[tuple[Run, Figures]]]) -> Summary:
    """Return mean and deviation (of a sample) of every figure, and every run's own."""
    found: Summary = {}
    for name, pairs in runs.items():
        found[name] = {
            "mean": {key: _mean([figures[key] for _, figures in pairs]) for key in COLUMNS},
            "deviation": {
                key: _deviation([figures[key] for _, figures in pairs]) for key in COLUMNS
            },
            "runs": [
                {
                    "order": list(run.order),
                    "options": dict(run.options),
                    "seconds": run.seconds,
                    **figures,
                }
                for run, figures in pairs
            ],
        }
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _deviation(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def comparison_table(found: Summary) -> str:
    """Lay out in per cent, as Markdown; BWT in points."""
    rows = [
        [name, *(_cell(one["mean"], one["deviation"], key) for key in COLUMNS)]
        for name, one in found.items()
    ]
    return markdown_table(["learner", *COLUMNS.values()], rows)


def _cell(means: object, deviations: object, key: str) -> str:
    mean = means.get(key) if isinstance(means, dict) else None
    deviation = deviations.get(key) if isinstance(deviations, dict) else None
    if mean is None:
        return UNDEFINED
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * mean:.1f}{spread}"


def question_targets(found: Summary) -> list[Target]:
    """Rows of "must reach" that this comparison measures, in points of accuracy."""
    ours, plain, moe = (
        _points(found, name) for name in ("CL-Anomaly", "sequential LoRA", "MoE-LoRA")
    )
    return [
        Target(
            "Last accuracy, CL-Anomaly against sequential LoRA",
            "at least",
            5.0,
            _less(ours.get("last"), plain.get("last")),
            "points",
        ),
        Target("BWT of CL-Anomaly", "at least", -2.0, ours.get("bwt"), "points"),
        Target(
            "BWT, CL-Anomaly against MoE-LoRA",
            "at least",
            0.0,
            _less(ours.get("bwt"), moe.get("bwt")),
            "points",
        ),
    ]


def _points(found: Summary, name: str) -> dict[str, float | None]:
    means = found.get(name, {}).get("mean")
    if not isinstance(means, dict):
        return {}
    return {key: None if value is None else 100 * value for key, value in means.items()}


def _less(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
