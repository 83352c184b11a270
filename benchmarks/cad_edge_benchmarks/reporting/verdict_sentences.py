"""The figures as sentences for whoever runs a line: what is found, what is rejected by mistake."""

from collections.abc import Iterable, Sequence

from cad_edge_benchmarks.instruments.evaluation import TaskEvaluation
from cad_edge_benchmarks.instruments.verdicts import Verdicts, pooled
from cad_edge_benchmarks.reporting.tables import percent, percents


def headline(tasks: Sequence[TaskEvaluation], part: str = "part", who: str = "") -> str:
    """Say how many defects are found and good parts rejected, over all images of ``tasks``.

    Parameters
    ----------
    tasks
        At least one.
    part
        What an image shows, in the singular.
    who
        Name of what finds them; without it the sentence begins with "Finds".
    """
    every = pooled(tasks)
    found, rejected = every.found, every.false_rejects
    finds, rejects = "was shown no defects", f"was shown no good {part}s"
    if found.total:
        finds = f"finds {found} defects ({percent(found.share)})"
    if every.false_reject_interval is not None:
        rejects = (
            f"rejects {rejected} good {part}s ({percent(rejected.share)}, "
            f"95 % interval {percents(every.false_reject_interval)})"
        )
    opening = f"{who} {finds}" if who else finds.capitalize()
    return f"{opening} at {stated(tasks)}; {rejects}."


def stated(tasks: Iterable[TaskEvaluation]) -> str:
    """Say the stated false-reject rate, or between which two it lies."""
    rates = sorted({task.stated_false_reject_rate for task in tasks})
    low, high = f"{100 * rates[0]:g}", f"{100 * rates[-1]:g}"
    if low == high:
        return f"a stated false-reject rate of {low} %"
    return f"stated false-reject rates of {low} to {high} %"


def beside(tasks: Sequence[TaskEvaluation], part: str = "part") -> str:
    """Say what stands beside the headline: calibration's loss, frames refused as unknown."""
    every = pooled(tasks)
    sentences = (_calibration(every), _unknown(every, part))
    return " ".join(one for one in sentences if one)


def _calibration(every: Verdicts) -> str:
    perfect, lost = every.found_perfectly, every.lost_by_calibration
    if lost is None:
        return ""
    could = f"With perfect thresholds at that rate the same scores would find {perfect}"
    if lost > 0:
        return (
            f"{could} ({percent(perfect.share)}): {percent(lost)} of the defects are lost by "
            "calibration."
        )
    if lost == 0:
        return f"{could}: calibration loses none."
    return (
        f"{could} ({percent(perfect.share)}), fewer than were found: somewhere more good parts are "
        "rejected than stated."
    )


def _unknown(every: Verdicts, part: str) -> str:
    shown = [
        f"{percent(share)} of the {kind} {part}s"
        for share, kind in (
            (every.unknown_normal, "good"),
            (every.unknown_defective, "defective"),
        )
        if share is not None
    ]
    return f"Called unknown_product: {', '.join(shown)}." if shown else ""
