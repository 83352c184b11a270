"""Judging the test images of tasks, honestly or with switches that reproduce leaks.

Without a switch this is what `cad-edge evaluate` does, figure by figure. Switches reproduce what
released code does wrong, only to compare with its figures. None is on by default; one that is on is
listed in every result and printed in red in every table that it touches.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cad_edge.calibration import Calibration
from cad_edge.data.stream import StreamTask
from cad_edge.errors import OptionError
from cad_edge_benchmarks.instruments.evaluation import Detect, TaskEvaluation, judge_task, summarise
from cad_edge_benchmarks.instruments.pixels import PixelScores
from cad_edge_benchmarks.instruments.verdicts import Outcome

IMAGE = frozenset({"image_auroc", "image_ap", "image_f1"})
PIXEL = frozenset({"pixel_auroc", "pixel_ap", "aupro"})
DECISIONS = frozenset(
    {
        "detection_rate",
        "false_reject_rate",
        "false_reject_interval",
        "detection_rate_perfect",
        "lost_by_calibration",
        "found_of_perfect",
    }
)
ROUTING = frozenset({"routing_normal", "routing_defective", "unknown_normal", "unknown_defective"})

CAP = "visa_train_cap"
VISA_TRAIN_CAP = 200


@dataclass(frozen=True)
class Compat:
    """One switch."""

    name: str
    touches: frozenset[str]
    """Figures of `TaskEvaluation` that it changes."""
    meaning: str
    """What it does and who does it, as printed."""

    @property
    def label(self) -> str:
        """Name as printed in results."""
        return f"compat_{self.name}"

    @property
    def warning(self) -> str:
        """What every reader has to know about it."""
        return f"{self.label}: {self.meaning}"


_ALL = (
    Compat(
        "flip",
        frozenset({"image_auroc", "pixel_auroc"}),
        "an AUROC below 0.5 is replaced by 1 - AUROC, which hides collapse (UniAD, IUF, DiAD, "
        "CDAD, IB-IUMAD)",
    ),
    Compat(
        "task_given",
        IMAGE | PIXEL | DECISIONS | ROUTING,
        "every test image is judged by the model of its own task, so that nothing is routed (UCAD)",
    ),
    Compat(
        "pro_rescaled",
        frozenset({"aupro"}),
        "AUPRO from 200 thresholds, the false positive rates below 0.3 stretched to reach 1 (CDAD)",
    ),
    Compat(
        "best_f1",
        frozenset({"image_f1"}),
        "F1 at the threshold that is best for the test images",
    ),
    Compat(
        CAP,
        IMAGE | PIXEL | DECISIONS | ROUTING,
        f"only {VISA_TRAIN_CAP} training images of a VisA class, the first by name (CDAD's lists "
        "hold as many)",
    ),
)

COMPATS = {compat.name: compat for compat in _ALL}
"""All switches by name."""


def read_compats(names: Sequence[str]) -> tuple[Compat, ...]:
    """Switches by name, each once and in the order of `COMPATS`.

    Raises
    ------
    OptionError
        There is no such switch.
    """
    for name in names:
        if name not in COMPATS:
            raise OptionError(f"--compat {name}: no such switch; take one of {', '.join(COMPATS)}")
    return tuple(compat for compat in _ALL if compat.name in names)


def flipped(auroc: float | None) -> float | None:
    """Larger of an AUROC and its complement."""
    return None if auroc is None else max(auroc, 1.0 - auroc)


def best_f1(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> float | None:
    """Largest F1 over all thresholds; None without both classes.

    Parameters
    ----------
    labels : (n_images,) bool
        True for anomalous.
    scores : (n_images,) float64
        Higher is more anomalous; an image is called anomalous at or above the threshold.
    """
    positives = int(labels.sum())
    if not positives or positives == len(labels):
        return None
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(labels[order])
    called = np.arange(1, len(scores) + 1)
    closed = np.append(scores[order][1:] != scores[order][:-1], True)  # ties are called together
    return float((2 * found / (called + positives))[closed].max())


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
