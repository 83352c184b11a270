"""The latency result for people: the terminal and the targets."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cad_edge_benchmarks.reporting.tables import figure, text_table
from cad_edge_benchmarks.reporting.targets import Target, targets_table

Result = Mapping[str, Any]

_MEGABYTE = 1e6


def latency_targets(result: Result) -> list[Target]:
    """Every row of "must reach" that this result answers."""
    many, start, picked_up = result["many_tasks"], result["start"], result["pick_up"]
    return [
        Target(
            "routed frame against bare trunk, median ratio",
            "at most",
            1.4,
            result["turns"]["routed_to_trunk"]["median"],
        ),
        Target(
            "RAM per further task",
            "at most",
            1,
            many["ram_bytes_per_further_task"] / _MEGABYTE,
            "MB",
        ),
        Target(
            "disk per further task",
            "at most",
            1,
            many["disk_bytes_per_further_task"] / _MEGABYTE,
            "MB",
        ),
        Target(f"opening {many['tasks']} tasks", "at most", 2, many["open_seconds"], "s"),
        Target(
            f"routed frame, {many['tasks']} tasks against 3, median ratio",
            "at most",
            1.1,
            many["many_to_three"]["median"],
        ),
        Target("new task visible, slowest", "at most", 200, max(picked_up["visible_ms"]), "ms"),
        Target("frames lost at pick-up", "at most", 0, picked_up["lost"]),
        Target("frames wrong at pick-up", "at most", 0, picked_up["wrong"]),
        Target("process start to first verdict", "at most", 1.5, start["seconds"], "s"),
        Target("resident memory of a device", "at most", 250, start["rss"] / _MEGABYTE, "MB"),
        Target("torch imported on the device", "at most", 0, float(start["torch"])),
    ]


def print_report(result: Result, accuracy: Path) -> None:
    """Print latencies, ratios, machine and all targets, those of ``accuracy`` where it is there."""
    turns, many = result["turns"], result["many_tasks"]
    named = {
        "routed": turns["routed"],
        "task given": turns["given"],
        "bare trunk": turns["trunk"],
        "routed, 3 tasks": many["three"],
        f"routed, {many['tasks']} tasks": many["many"],
    }
    columns = ("p50", "p90", "p95", "p99", "mean", "maximum")
    rows = [[name, *(figure(one[key], 2) for key in columns)] for name, one in named.items()]
    click.echo(text_table(["milliseconds", *columns], rows))
    ratio = turns["routed_to_trunk"]
    click.echo(
        f"\nRouted against bare trunk {ratio['median']:.3f} (quartiles "
        f"{ratio['lower_quartile']:.3f} to {ratio['upper_quartile']:.3f}, {ratio['rounds']} rounds "
        f"in turns). {result['machine']['cpu']}, {result['threads']} threads.\n"
    )
    click.echo(targets_table([*latency_targets(result), *_recorded(accuracy)]))


def _recorded(accuracy: Path) -> list[Target]:
    """Targets that the accuracy result answered when it was made."""
    if not accuracy.is_file():
        return []
    kept = json.loads(accuracy.read_text(encoding="utf-8")).get("must_reach", [])
    return [
        Target(one["what"], one["bound"], one["limit"], one["value"], one["unit"]) for one in kept
    ]
