"""Exported engines beside torch: what must be reached, and the drift of every task."""

from collections.abc import Mapping
from typing import Any

from cad_edge_benchmarks.reporting.tables import figure, text_table
from cad_edge_benchmarks.reporting.targets import Target

Result = Mapping[str, Any]


def exported_targets(result: Result) -> list[Target]:
    """Rows of "must reach" that are measured here, each by the worst of its figures."""
    torch = [one for ways in result["against_torch"].values() for one in ways.values()]
    layouts = list(result["fused_against_shared"].values())
    tasks = result["lasting"]
    return [
        _at_most(
            "Yes and No, exported against torch", 0, _total(torch, "other_decisions"), "other"
        ),
        _at_most("logits, exported against torch", 1e-3, _largest(torch), "apart"),
        _at_most("logits, fused against shared", 1e-4, _largest(layouts), "apart"),
        _at_most("verdicts, fused against shared", 0, _total(layouts, "other_verdicts"), "other"),
        _at_most(
            "private experts and anchors of older tasks",
            0,
            _total(tasks, "models_changed") + _total(tasks, "versions_changed"),
            "changed",
        ),
        *(
            _at_most(f"first token over a decision, task {way}", 1.5, one["ratio"]["median"], "")
            for way, one in result["first_token"].items()
        ),
        _at_most(
            "answers in words, exported against transformers",
            0,
            _total(result["words"].values(), "others"),
            "other",
        ),
    ]


def _at_most(what: str, limit: float, value: float, unit: str) -> Target:
    return Target(what, "at most", limit, float(value), unit)


def _total(rows: Any, name: str) -> int:  # noqa: ANN401  (rows of JSON)
    return sum(row[name] for row in rows)


def _largest(rows: Any) -> float:  # noqa: ANN401  (rows of JSON)
    return max(float(row["largest_difference"]) for row in rows)


def lasting_table(result: Result) -> str:
    """Lay out what later tasks changed of each, in the order of learning."""
    head = [
        "task",
        "later tasks",
        "moved, mean",
        "largest",
        "decisions flipped",
        "good parts held out, largest",
        "flipped",
        "accuracy then",
        "now",
    ]
    rows = []
    for one in result["lasting"]:
        tests, held = one["tests"], one["held_out"]
        rows.append(
            [
                one["task"],
                figure(one["generations"]),
                figure(tests["mean"]),
                figure(tests["largest"]),
                f"{tests['flipped']} of {tests['images']}",
                figure(held["largest"]),
                f"{held['flipped']} of {held['images']}",
                figure(one["accuracy_then"]),
                figure(one["accuracy_now"]),
            ]
        )
    return text_table(head, rows)
