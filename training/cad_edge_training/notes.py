"""Lines on a task that was learned: from how many good parts, and which of them are odd."""

from cad_edge.store.artifact import Artifact, LearnedTask
from cad_edge_training.good_parts import GoodParts, learned_from
from cad_edge_training.method import MakesRemarks, StatesSuitability
from cad_edge_training.methods import default_method, load_method


def learned_line(record: Artifact, parts: GoodParts | None) -> str:
    """Say how many good parts a task was learned from, and which pictures are copies.

    Parameters
    ----------
    record
        Of the task.
    parts
        Its pictures; None where they could not be told apart before.
    """
    calibration = record.calibration
    held_out = len(calibration.scores)
    if not calibration.keep_outliers:
        held_out += len(calibration.outliers)
    return learned_from(
        record.task,
        record.provenance.images if parts is None else parts.count,
        held_out if calibration.scheme == "split" else None,
    ) + ("" if parts is None else parts.copies_said())


def method_lines(task: LearnedTask, backbone: str) -> list[str]:
    """Repeat what the method itself says of a product that it has learned, one line each."""
    method = load_method(task.artifact.method)
    remarks = method.remarks(task.tensors) if isinstance(method, MakesRemarks) else []
    return [
        *(f"{task.artifact.task}: {one}" for one in remarks),
        *_suitability_lines(task, backbone),
    ]


def _suitability_lines(task: LearnedTask, backbone: str) -> list[str]:
    """Warn where a method says that it does not suit the product; which one to take instead."""
    name = task.artifact.method
    method = load_method(name)
    said = method.suitability(task.tensors) if isinstance(method, StatesSuitability) else None
    if said is None or said.suits:
        return []
    instead = default_method(backbone)
    advice = "" if instead == name else f"; learn it with --method {instead}"
    return [f"{task.artifact.task}: {said.sentence}, so that {name} hardly suits it{advice}"]


def outlier_lines(record: Artifact) -> list[str]:
    """Name the odd ones among a task's good parts, one line each."""
    kept = record.calibration.keep_outliers
    done = "kept in the threshold" if kept else "left out of the threshold (--keep-outliers)"
    return [
        f"{record.task}: {odd.image or 'a good part'} is unlike the other good parts, robust z "
        f"{odd.robust_z:.1f}; {done}"
        for odd in record.calibration.outliers
    ]
