"""Figures of runs: means and deviations over seeds, and what they have to reach."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cad_edge_benchmarks.instruments import continual_metrics as continual
from cad_edge_benchmarks.reporting.tables import markdown_table
from cad_edge_benchmarks.reporting.targets import Target
from cad_edge_studies.rgbd_comparison.task_sequence import (
    ABLATIONS,
    IUF_LIKE,
    JOINT,
    LEARNERS,
    LONGEST,
    MODALITIES,
    OURS,
    RATE,
    SEEDS,
    SETTINGS,
    Learner,
    Run,
)

Judged = Mapping[str, Any]
Results = Mapping[str, Judged]
"""What `judging.judge_run` says, by name of the run."""

_HEAD = ("setting", "learner", "sees", "I-AUROC", "P-AUROC", "AUPRO", "FM", "seeds")


def matrix_of(judged: Judged) -> continual.Matrix:
    """Task matrix with NaN where a product was not learned yet."""
    return np.array(judged["matrix"], dtype=np.float64)


def figures(judged: Judged) -> dict[str, float | None]:
    """Figures of one run, in percent; ``old`` and ``new`` are those of `_by_age`."""
    last = judged["last"].values()
    found: dict[str, float | None] = {
        name: 100 * float(np.mean([one[name] for one in last]))
        for name in ("image_auroc", "pixel_auroc", "aupro")
    }
    forgetting = continual.forgetting_measure(matrix_of(judged))
    return found | _by_age(judged) | {"fm": None if forgetting is None else 100 * forgetting}


def _by_age(judged: Judged) -> dict[str, float | None]:
    """Image AUROC in the end of products from before the last step, and of those of it."""
    if len(judged["matrix"]) == 1:
        return {"old": None, "new": None}
    known = np.array([one is not None for one in judged["matrix"][-2]])
    final = 100 * matrix_of(judged)[-1]
    return {"old": float(final[known].mean()), "new": float(final[~known].mean())}


def old_false_rejects(judged: Judged, steps: Sequence[Sequence[str]], name: str) -> float:
    """Mean share of good parts rejected of products learned before the last step."""
    old = [product for step in steps[:-1] for product in step]
    return float(np.mean([judged["last"][product][name] for product in old]))


def rows(results: Results) -> list[dict[str, Any]]:
    """Mean and deviation of every figure, by setting, learner and modality."""
    found = []
    for setting in SETTINGS:
        for learner in (*LEARNERS, *ABLATIONS):
            for modality in MODALITIES:
                runs = [Run(learner, setting, modality, seed).name for seed in SEEDS]
                held = [figures(results[name]) for name in runs if name in results]
                if held:
                    what = {"setting": setting, "learner": learner.name, "modality": modality}
                    found.append(what | _summary(held))
    return found


def _summary(held: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    summary: dict[str, Any] = {"seeds": len(held)}
    for name in held[0]:
        values = np.array([one[name] for one in held if one[name] is not None], np.float64)
        summary[name] = float(values.mean()) if len(values) else None
        summary[f"{name}_deviation"] = float(values.std()) if len(values) else None
    return summary


def table(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Lay out rows in Markdown."""
    return markdown_table(
        _HEAD,
        [
            [
                one["setting"],
                one["learner"],
                one["modality"],
                *(_said(one, name) for name in ("image_auroc", "pixel_auroc", "aupro", "fm")),
                str(one["seeds"]),
            ]
            for one in summaries
        ],
    )


def table_by_age(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Lay out image AUROC of products from before the last step, and of those of it."""
    return markdown_table(
        ("setting", "learner", "sees", "old products", "new products"),
        [
            [one["setting"], one["learner"], one["modality"], _said(one, "old"), _said(one, "new")]
            for one in summaries
            if one["old"] is not None
        ],
    )


def _said(one: Mapping[str, Any], name: str) -> str:
    if one[name] is None:
        return "-"
    return f"{one[name]:.1f} ± {one[f'{name}_deviation']:.1f}"


def targets(results: Results) -> list[Target]:
    """Rows of "must reach" that these runs measure; of those that lack a seed no value is given."""
    ours = _mean_over(results, OURS, LONGEST, "rgbd")
    theirs = _mean_over(results, IUF_LIKE, LONGEST, "rgbd")
    joint = {modality: _mean_over(results, OURS, JOINT, modality) for modality in MODALITIES}
    single = [joint[modality]["image_auroc"] for modality in ("rgb", "depth")]
    best = None if None in single else max(one for one in single if one is not None)
    anew = _false_rejects(results, "false_rejects")
    return [
        Target(
            f"{LONGEST}, I-AUROC above the IUF-like baseline",
            "at least",
            3.0,
            _minus(ours["image_auroc"], theirs["image_auroc"]),
            "points",
        ),
        Target(
            f"{LONGEST}, FM to that of the IUF-like baseline",
            "at most",
            0.7,
            None if ours["fm"] is None or not theirs["fm"] else ours["fm"] / theirs["fm"],
            "x",
        ),
        Target(
            f"{JOINT}, I-AUROC of both above the better modality",
            "at least",
            2.0,
            _minus(joint["rgbd"]["image_auroc"], best),
            "points",
        ),
        Target(
            "false rejects of old products, made anew, to the stated rate",
            "at most",
            2.0,
            None if anew is None else anew / RATE,
            "x",
        ),
    ]


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _mean_over(
    results: Results, learner: Learner, setting: str, modality: str
) -> dict[str, float | None]:
    names = [Run(learner, setting, modality, seed).name for seed in SEEDS]
    if any(name not in results for name in names):
        return {"image_auroc": None, "fm": None}
    held = [figures(results[name]) for name in names]
    return {
        name: None if held[0][name] is None else float(np.mean([one[name] or 0 for one in held]))
        for name in ("image_auroc", "fm")
    }


def _false_rejects(results: Results, name: str) -> float | None:
    runs = [Run(OURS, LONGEST, "rgbd", seed) for seed in SEEDS]
    if any(run.name not in results for run in runs):
        return None
    return float(np.mean([old_false_rejects(results[run.name], run.steps(), name) for run in runs]))


def false_reject_line(results: Results) -> str:
    """Say what calibrating anew does for products learned before the last step."""
    anew, stale = (
        _false_rejects(results, name) for name in ("false_rejects", "false_rejects_stale")
    )
    if anew is None or stale is None:
        return "false rejects of old products: not measured"
    return (
        f"false rejects of old products after four increments, {RATE:.0%} stated: {anew:.1%} with "
        f"thresholds made anew, {stale:.1%} with those of when they were learned"
    )
