"""Recognition of known and unknown products, image by image.

A frame is as novel as the device takes it to be: what it calls unknown is more novel than all else,
and among frames of one kind the farther one by the rejection threshold of its product, that is the
one with the lower similarity.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cad_edge.data.image import Frame, decode_image
from cad_edge.data.stream import StreamTask
from cad_edge_benchmarks.instruments.evaluation import outcome_of
from cad_edge_benchmarks.instruments.metrics import image_auroc
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN, share
from cad_edge_runtime import Detection, Detector


@dataclass(frozen=True)
class LabelledFrame:
    """A test image of a product, in memory or in its file."""

    product: str
    anomalous: bool
    image: Frame | Path


@dataclass(frozen=True)
class Prediction:
    """What a bundle says of one test image."""

    product: str
    anomalous: bool
    task: str | None
    """None for an unknown product."""
    score: float
    """Calibrated; +inf for an unknown product."""
    novelty: float

    @property
    def unknown(self) -> bool:
        """Whether the verdict is ``unknown_product``."""
        return self.task is None


def frames_of(task: StreamTask, in_memory: bool = False) -> list[LabelledFrame]:
    """List the test images of a task at their own size, which may fill the memory."""
    return [
        LabelledFrame(
            task.name, item.anomalous, decode_image(item.path) if in_memory else item.path
        )
        for item in task.images().test
    ]


def predict(detector: Detector, frames: Iterable[LabelledFrame]) -> list[Prediction]:
    """Recognise and judge frames, each on its own."""
    found = ((one, detector.detect(one.image)) for one in frames)
    return [
        Prediction(
            one.product,
            one.anomalous,
            said.task,
            outcome_of(said, one.product, one.anomalous).score,
            novelty_of(said),
        )
        for one, said in found
    ]


def novelty_of(found: Detection) -> float:
    """Return how novel a frame is to the device, in [0, 1]; above 1 where it says unknown."""
    dissimilarity = 1.0 - (found.similarity or 0.0)
    return 1.0 + dissimilarity if found.verdict == UNKNOWN else dissimilarity


def novelty_auroc(predictions: Sequence[Prediction], learned: Collection[str]) -> float | None:
    """AUROC of telling products that were not learned from the ``learned`` ones, by novelty."""
    unlearned = np.array([one.product not in learned for one in predictions], dtype=np.bool_)
    return image_auroc(unlearned, np.array([one.novelty for one in predictions]))


def measure_left_out(
    detector: Detector, left_out: str, frames: Mapping[str, Sequence[LabelledFrame]]
) -> dict[str, float | None]:
    """Measure how a bundle of all products but ``left_out`` tells its frames from theirs."""
    predictions = predict(detector, [one for shown in frames.values() for one in shown])
    rejected = share(one.unknown for one in predictions if one.product == left_out)
    return {
        "unknown_product_auroc": novelty_auroc(predictions, frames.keys() - {left_out}),
        "unknown_product_rejected": rejected,
    }


def routed_auroc(predictions: Sequence[Prediction]) -> float | None:
    """Image AUROC of test images that found their product on their own."""
    labels = np.array([one.anomalous for one in predictions], dtype=np.bool_)
    return image_auroc(labels, np.array([one.score for one in predictions]))
