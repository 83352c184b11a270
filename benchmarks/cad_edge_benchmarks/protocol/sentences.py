"""The result of a protocol in sentences: verdicts of the first learner, then its forgetting."""

from collections.abc import Sequence

from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.protocol.layout import shown_spread
from cad_edge_benchmarks.protocol.run import Run
from cad_edge_benchmarks.protocol.summary import all_parts, by_learner, spread, summary_of
from cad_edge_benchmarks.protocol.verdict_tables import widest
from cad_edge_benchmarks.reporting import verdict_sentences
from cad_edge_benchmarks.reporting.tables import percents


def headline(runs: Sequence[Run]) -> str:
    """Say what the first learner finds and rejects after the last step, of several runs the mean.

    The runs of a learner judge the same images, so that their counts are not added.
    """
    name, theirs = _first(runs)
    if len(theirs) == 1:
        return verdict_sentences.headline(_judged(theirs[0]), who=name)
    interval = widest(all_parts(run).false_reject_interval for run in theirs)
    within = "" if interval is None else f", 95 % interval {percents(interval)}"
    return (
        f"{name} finds {_percent(theirs, 'detection_rate')} of the defects at "
        f"{verdict_sentences.stated(_judged(theirs[0]))}; rejects "
        f"{_percent(theirs, 'false_reject_rate')} of the good parts (mean over {len(theirs)} runs"
        f"{within})."
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
        return verdict_sentences.beside(_judged(runs[0]))
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


def _first(runs: Sequence[Run]) -> tuple[str, list[Run]]:
    return next(iter(by_learner(runs).items()))


def _judged(run: Run) -> list[TaskEvaluation]:
    return list(run.results[-1].measurement.evaluations.values())


def _percent(runs: Sequence[Run], figure: str) -> str:
    """Write a share of all images as mean and deviation over runs."""
    shares = [getattr(all_parts(run), figure) for run in runs]
    found = spread([None if share is None else 100 * share for share in shares])
    return shown_spread(found, 1) + (" %" if found.mean is not None else "")
