"""Shared experts that lose their router, and what that does to scores: measured, and limited."""

from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from cad_edge.calibration import conformal_threshold
from cad_edge.errors import CertificateError
from cad_edge.store.artifact import LearnedTask
from cad_edge.store.manifest import MergedShared
from cad_edge_export.certificate import reference_model
from cad_edge_export.fusions import method_with_router
from cad_edge_export.quantisation.evidence import (
    LARGEST_FLIP_RATE,
    SMALLEST_RANK_CORRELATION,
    flips_allowed,
)
from cad_edge_training.backbones import Backbone
from cad_edge_training.methods import saved_config

Array = np.ndarray[Any, np.dtype[np.float64]]


def merged(task: LearnedTask, backbone: Backbone) -> tuple[LearnedTask, MergedShared]:
    """Take a task's router away; return the task without it, and what that does to scores.

    Raises
    ------
    OptionError
        The method or the task has no shared experts.
    CertificateError
        It does too much.
    """
    artifact = task.artifact
    method = method_with_router(artifact.method)
    config = saved_config(artifact.task, artifact.method, artifact.hyperparameters)
    lean = method.without_router(backbone, config, task)
    exact, approximate = (
        (np.array(method.held_out_scores(backbone, config, one)), _witness_scores(one, backbone))
        for one in (task, lean)
    )
    effect = weigh(exact, approximate, artifact.false_reject_rate)
    require(effect, artifact.task)
    return lean, effect


def _witness_scores(task: LearnedTask, backbone: Backbone) -> Array:
    with torch.inference_mode():
        score, _ = reference_model(task, backbone)(torch.from_numpy(task.witness["image"]))
    found: Array = score.double().numpy()
    return found


def weigh(exact: tuple[Array, Array], lean: tuple[Array, Array], rate: float) -> MergedShared:
    """Compare scores with and without a router.

    Parameters
    ----------
    exact, lean
        Scores of held-out good parts (n,) and of witness images (m,), with a router and without.
    rate
        Stated false-reject rate: each side has the threshold that its held-out scores give.
    """
    thresholds = [conformal_threshold(sorted(held_out), rate) for held_out, _ in (exact, lean)]
    verdicts = [
        [scores > threshold for scores in both]
        for both, threshold in zip((exact, lean), thresholds, strict=True)
    ]
    flips = [int((one != other).sum()) for one, other in zip(*verdicts, strict=True)]
    difference = np.abs(lean[0] - exact[0])
    return MergedShared(
        held_out_images=len(exact[0]),
        witness_images=len(exact[1]),
        score_mean=float(difference.mean()),
        score_max=float(difference.max()),
        rank_correlation=_rank_correlation(np.concatenate(exact), np.concatenate(lean)),
        smallest_rank_correlation=SMALLEST_RANK_CORRELATION,
        flips_held_out=flips[0],
        flips_witness=flips[1],
        largest_flip_rate=LARGEST_FLIP_RATE,
    )


def _rank_correlation(exact: Array, lean: Array) -> float | None:
    """Spearman's; None where there was no order that could be lost, 0 where all of it is."""
    if not np.ptp(exact):
        return None
    return float(spearmanr(exact, lean).statistic) if np.ptp(lean) else 0.0


def require(effect: MergedShared, task: str) -> None:
    """Raise CertificateError unless the effect is within its limits; one image may always flip."""
    images = effect.held_out_images + effect.witness_images
    flips = effect.flips_held_out + effect.flips_witness
    correlation = effect.rank_correlation
    ordered = correlation is None or correlation >= effect.smallest_rank_correlation
    if ordered and flips <= flips_allowed(images, effect.largest_flip_rate):
        return
    said = "no" if correlation is None else f"{correlation:.3f}"
    raise CertificateError(
        f"task {task}: --merge-shared changes what the engine says (rank correlation of scores "
        f"{said}, at least {effect.smallest_rank_correlation}; {effect.flips_held_out} of "
        f"{effect.held_out_images} held-out and {effect.flips_witness} of {effect.witness_images} "
        f"witness verdicts flip, at most {effect.largest_flip_rate:.0%}); nothing was written, "
        "export it without --merge-shared"
    )
