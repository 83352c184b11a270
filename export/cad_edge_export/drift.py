"""What later tasks change of older ones: measured at every export, and said in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cad_edge.calibration import decide
from cad_edge.store.artifact import LearnedTask
from cad_edge.store.manifest import Manifest, TaskEntry
from cad_edge_export.missing_tasks import Held, rgb_only_fallbacks_of

Array = np.ndarray[Any, np.dtype[Any]]


def drift(task: LearnedTask, scores: Array, threshold: float) -> dict[str, float | int | None]:
    """Return the certificate's ``drift`` and ``drift_flips``, None where nothing can change.

    Parameters
    ----------
    task
        Its witness holds the scores of when it was learned.
    scores
        (n,) float32 by the model as it is now, those of the witness images first.
    threshold
        Of now.
    """
    if not task.evolves:
        return {"drift": None, "drift_flips": None}
    then, now = task.witness["score"], scores[: len(task.witness["score"])]
    before = decide(task.artifact.calibration, task.artifact.false_reject_rate).threshold
    flips = (then > before) != (now > threshold)
    return {"drift": float(np.abs(now - then).max()), "drift_flips": int(flips.sum())}


def drift_lines(manifest: Manifest, added: Sequence[str]) -> list[str]:
    """Say by how much the new tasks have changed those that they share weights with.

    Parameters
    ----------
    manifest
        After the export.
    added
        Tasks that the export added.
    """
    return _lines(manifest.tasks, added, "")


def stand_in_drift_lines(before: Manifest | None, after: Manifest) -> list[str]:
    """Say it of what answers frames without depth; ``before`` is the version before, if any."""
    held = rgb_only_fallbacks_of(before.tasks) if before else {}
    now = rgb_only_fallbacks_of(after.tasks)
    return _lines(now, [name for name in now if name not in held], " without depth")


def _lines(entries: Held, added: Sequence[str], how: str) -> list[str]:
    """Lines of tasks, or of their RGB-only fallbacks; ``how`` follows the name."""
    grown = {entries[name].method for name in added}
    lines = []
    for method in sorted(grown):
        changed = {
            name: entry
            for name, entry in entries.items()
            if entry.method == method and entry.certificate.drift is not None
        }
        ordered = sorted(changed, key=lambda name: (changed[name].position, name))
        lines += [_line(name + how, changed[name]) for name in ordered[:-1]]
    return lines


def _line(name: str, entry: TaskEntry) -> str:
    found = entry.certificate
    return (
        f"{name}: scores moved by at most {found.drift:.2g} since it was learned, "
        f"{found.drift_flips} of {found.witness_images} verdicts changed"
    )
