"""The report of a protocol: its record for programs, and its document for people."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.instruments.machine import commit_of, describe_machine, versions
from cad_edge_benchmarks.instruments.open_data import REPOSITORY
from cad_edge_benchmarks.protocol.compat import Compat
from cad_edge_benchmarks.protocol.learner_settings import LearnerSettings
from cad_edge_benchmarks.protocol.plan import Plan
from cad_edge_benchmarks.protocol.run import Run
from cad_edge_benchmarks.protocol.summary import (
    all_parts,
    by_learner,
    learner_record,
    spread,
    summary_of,
    widest,
)
from cad_edge_benchmarks.protocol.tables import all_sections, shown_spread
from cad_edge_benchmarks.reporting import verdict_sentences
from cad_edge_benchmarks.reporting.document import Document, Section, Table, Warn
from cad_edge_benchmarks.reporting.tables import percents

FORMAT = 2


@dataclass(frozen=True)
class ProtocolReport:
    """Everything that a report tells."""

    plan: Plan
    runs: tuple[Run, ...]
    compats: tuple[Compat, ...]
    last_only: bool
    remarks: tuple[str, ...]
    """Tasks whose figures are undefined, and why."""


def record_of(report: ProtocolReport) -> bytes:
    """Lay out ``protocol.json``; undefined figures are null."""
    record = {
        "format": FORMAT,
        "headline": headline(report.runs),
        "plan": report.plan.model_dump(mode="json"),
        "compat": {one.label: one.meaning for one in report.compats},
        "last_only": report.last_only,
        "undefined": list(report.remarks),
        "learners": {name: learner_record(runs) for name, runs in by_learner(report.runs).items()},
        "conditions": {
            "commit": commit_of(REPOSITORY),
            "machine": describe_machine(),
            "versions": versions(),
        },
    }
    return f"{json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)}\n".encode()


def document_of(report: ProtocolReport) -> Document:
    """Lay out the report for terminal, Markdown and page: verdicts first."""
    warnings = (Warn(one.warning) for one in report.compats)
    sections = all_sections(report.runs, report.plan.false_reject_rate, report.compats)
    return Document(
        f"cad-edge protocol: {report.plan.protocol}",
        headline(report.runs),
        (*warnings, *beside(report.runs), *facts(report)),
        (*sections[:2], _learners(report.plan), *sections[2:], _conditions()),
    )


def headline(runs: Sequence[Run]) -> str:
    """Say what the first learner finds and rejects after the last step, of several runs the mean.

    The runs of a learner judge the same images, so that their counts are not added.
    """
    name, theirs = _first(runs)
    final = _final(theirs[0])
    if len(theirs) == 1:
        return verdict_sentences.headline(final, who=name)
    interval = widest(all_parts(run).false_reject_interval for run in theirs)
    within = "" if interval is None else f", 95 % interval {percents(interval)}"
    return (
        f"{name} finds {_percent(theirs, 'detection_rate')} of the defects at "
        f"{verdict_sentences.stated(final)}; rejects {_percent(theirs, 'false_reject_rate')} of "
        f"the good parts (mean over {len(theirs)} runs{within})."
    )


def beside(runs: Sequence[Run]) -> list[str]:
    """Say what stands beside the headline."""
    _, theirs = _first(runs)
    figures = summary_of(theirs)
    said = {key: shown_spread(figures[key]) for key in ("a_auroc", "fm", "pixel_auroc")}
    return [
        _calibration(theirs),
        f"Image AUROC {said['a_auroc']} over all tasks after the last step, forgetting "
        f"{said['fm']}, pixel AUROC {said['pixel_auroc']}.",
    ]


def _calibration(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return verdict_sentences.beside(_final(runs[0]))
    perfect, lost, good, bad = (
        _percent(runs, figure)
        for figure in (
            "detection_rate_perfect",
            "lost_by_calibration",
            "unknown_normal",
            "unknown_defective",
        )
    )
    return (
        f"With perfect thresholds at that rate the same scores would find {perfect}: {lost} of the "
        f"defects are lost by calibration. Called unknown_product: {good} of the good parts, {bad} "
        "of the defective parts."
    )


def facts(report: ProtocolReport) -> list[str]:
    """Sentences on what was run."""
    plan = report.plan
    tasks, steps = sum(len(step) for step in plan.steps), len(plan.steps)
    said = [
        f"{tasks} task{'s' * (tasks != 1)} in {steps} step{'s' * (steps != 1)}: "
        + " | ".join(", ".join(step) for step in plan.steps)
        + f"; stated false-reject rate {plan.false_reject_rate:g}.",
        f"Runs: {_trials(report.runs)}.",
    ]
    if report.last_only:
        said.append("Only the last step was measured, so FM, Avg and BWT are undefined.")
    if report.remarks:
        said.append(f"Undefined figures: {'; '.join(report.remarks)}.")
    if names := [name for name, one in plan.learners.items() if one.one_step]:
        said.append(
            f"All tasks in one step, in the first order alone and without forgetting: "
            f"{', '.join(names)}."
        )
    if names := [name for name, one in plan.learners.items() if one.baseline == "separate"]:
        said.append(f"Every task on its own, in the first order alone: {', '.join(names)}.")
    return said


def _trials(runs: Sequence[Run]) -> str:
    """Name the orders, each with its seeds."""
    seeds: dict[str, list[int]] = {}
    for order, seed in sorted({(run.order, run.seed) for run in runs}):
        seeds.setdefault(order, []).append(seed)
    return "; ".join(
        f"order {order} with seed{'s' * (len(own) > 1)} {', '.join(map(str, own))}"
        for order, own in seeds.items()
    )


def _learners(plan: Plan) -> Section:
    rows = [(name, described(one)) for name, one in plan.learners.items()]
    return Section("how", "Learners: how they learn", (Table(("", ""), rows, is_list=True),))


def described(learner: LearnerSettings) -> str:
    """Say how a learner learns."""
    said = f"{learner.method} on {learner.backbone}"
    if learner.size is not None:
        said += f" at {learner.size} px"
    if learner.options:
        said += f", {', '.join(f'{name}={value}' for name, value in learner.options.items())}"
    if learner.one_step:
        said += "; all tasks in one step"
    return said if learner.baseline is None else f"baseline {learner.baseline}: {said}"


def _conditions() -> Section:
    machine = describe_machine()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    said = f"{machine['cpu']}, {machine['cores']} cores; Python {machine['python']}; {packages}."
    return Section("conditions", "Made with", (said,), in_terminal=False, linked=False)


def _first(runs: Sequence[Run]) -> tuple[str, list[Run]]:
    return next(iter(by_learner(runs).items()))


def _final(run: Run) -> list[TaskEvaluation]:
    return list(run.results[-1].measurement.evaluations.values())


def _percent(runs: Sequence[Run], figure: str) -> str:
    """Write a share of all images as mean and deviation over runs."""
    shares = [getattr(all_parts(run), figure) for run in runs]
    found = spread([None if share is None else 100 * share for share in shares])
    return shown_spread(found, 1) + (" %" if found.mean is not None else "")
