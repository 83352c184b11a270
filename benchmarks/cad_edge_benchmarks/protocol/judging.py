"""Judging the test images of tasks, honestly or with the switches of `compat`.

Without a switch this is what `cad-edge evaluate` does, figure by figure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cad_edge.calibration import Calibration
from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.instruments.evaluation import Detect, TaskEvaluation, judge_task, summarise
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_benchmarks.instruments.verdicts import Outcome
from cad_edge_benchmarks.protocol.compat import Compat, best_f1, flipped


def judge(
    detect: Callable[[str], Detect],
    tasks: Sequence[StreamTask],
    calibrations: Mapping[str, Calibration],
    rate: float,
    compats: Sequence[Compat],
    routed: bool,
) -> dict[str, TaskEvaluation]:
    """Evaluate ``tasks`` on all their test images.

    Parameters
    ----------
    detect
        From a task's name to what judges its frames.
    tasks
        Tasks learned so far; one without test images gets undefined figures.
    calibrations
        Of every task that a frame may be judged by, for the scale of the maps.
    rate
        Stated false-reject rate.
    compats
        Switches that are on.
    routed
        Whether frames find their task on their own; otherwise routing is undefined.
    """
    names = {compat.name for compat in compats}
    evaluated = {}
    for task in tasks:
        items = task.samples().test
        judged = judge_task(detect(task.name), task.name, items, calibrations)
        evaluation = _summarise(*judged, rate, names)
        evaluated[task.name] = evaluation if routed else _without_routing(evaluation)
    return evaluated


def _summarise(
    outcomes: list[Outcome], pixels: PixelScores, masked: int, rate: float, switches: set[str]
) -> TaskEvaluation:
    rescaled = pixels.rescaled_pro() if "pro_rescaled" in switches else None
    evaluation = summarise(outcomes, pixels, masked, rate)
    if "pro_rescaled" in switches:
        evaluation = replace(evaluation, aupro=rescaled)
    if "best_f1" in switches:
        evaluation = replace(evaluation, image_f1=_best_f1(outcomes))
    if "flip" in switches:
        evaluation = replace(
            evaluation,
            image_auroc=flipped(evaluation.image_auroc),
            pixel_auroc=flipped(evaluation.pixel_auroc),
        )
    return evaluation


def _best_f1(outcomes: Sequence[Outcome]) -> float | None:
    labels = np.array([one.anomalous for one in outcomes], dtype=np.bool_)
    return best_f1(labels, np.array([one.score for one in outcomes], dtype=np.float64))


def _without_routing(evaluation: TaskEvaluation) -> TaskEvaluation:
    return replace(
        evaluation,
        routing_normal=None,
        routing_defective=None,
        unknown_normal=None,
        unknown_defective=None,
    )
