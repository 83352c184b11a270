"""Figures of the comparison at full size, and what they have to reach."""

from collections.abc import Mapping
from typing import Any

from cad_edge_benchmarks.reporting.tables import figure, text_table
from cad_edge_benchmarks.reporting.targets import Target
from cad_edge_studies.cl_anomaly_full_size.build import FLOAT, ROUNDED
from cad_edge_studies.cl_anomaly_full_size.run import PEER

LIMITS = {FLOAT: (0.95, 0.85), ROUNDED: (0.5, 0.4)}
"""Largest share of transformers' time and of its peak memory, by precision."""
TASK_LIMIT = 8.0  # MB of a further task
_MEGABYTE = 1e6
_HEAD = ("", "ms", "of transformers", "peak MB", "of transformers", "unique MB")

Result = Mapping[str, Any]


def size_targets(result: Result) -> list[Target]:
    """Rows of "must reach" that this comparison measures."""
    targets = []
    for precision, (slowest, largest) in LIMITS.items():
        row = result["rows"].get(precision)
        time = None if row is None else row["to_peer"]["following"]["median"]
        targets.append(
            Target(f"{precision}, time of a frame to transformers'", "at most", slowest, time, "x")
        )
        peak = None if row is None else row["peak"] / result["rows"][PEER]["peak"]
        targets.append(
            Target(f"{precision}, peak memory to transformers'", "at most", largest, peak, "x")
        )
    growth = result["growth"]
    sizes = {"disk": growth["disk"]["in_force"], "unique memory": growth["unique_memory"]}
    return targets + [
        Target(f"one more task, {where}", "at most", TASK_LIMIT, size / _MEGABYTE, "MB")
        for where, size in sizes.items()
    ]


def size_table(result: Result) -> str:
    """Lay out what was measured, and what the exporter refused."""
    peer = result["rows"][PEER]
    rows = [
        [
            name,
            figure(row["following"]["p50"], 0),
            _spread(row["to_peer"]["following"]),
            figure(row["peak"] / _MEGABYTE, 0),
            figure(row["peak"] / peer["peak"]),
            figure(row["memory"]["uss"] / _MEGABYTE, 0),
        ]
        for name, row in result["rows"].items()
    ]
    said = [f"{name}: {sentence}" for name, sentence in result["refused"].items()]
    return "\n".join([text_table(_HEAD, rows), *said])


def _spread(ratio: Mapping[str, float]) -> str:
    low, middle, high = (ratio[name] for name in ("lower_quartile", "median", "upper_quartile"))
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"
