"""Products never learned: every task in turn is left out, and its frames should look strange.

A frame is as strange as the device takes it to be: what it calls unknown is stranger than all
else, and among frames of one kind the farther one by the radius of its product, that is the one
with the lower similarity. The test images of the learned products, good and defective, stand
against those of the one left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cad_edge_benchmarks.instruments.evaluation import unknown_auroc
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN, share
from cad_edge_runtime import Detection, Detector
from cad_edge_studies.accuracy.frames import ProductFrames


def strangeness_of(found: Detection) -> float:
    """Return how unknown a frame looks to the device, in [0, 1]; above 1 where it says unknown."""
    dissimilarity = 1.0 - (found.similarity or 0.0)
    return 1.0 + dissimilarity if found.verdict == UNKNOWN else dissimilarity


@dataclass(frozen=True)
class LeftOut:
    """How one product looked to a bundle that never learned it."""

    auroc: float | None
    rejected: float | None
    """Share of its frames with the verdict ``unknown_product``."""
    rejected_known: float | None
    """The same share among frames of the learned products."""


def measure_left_out(
    detector: Detector, left_out: str, products: Mapping[str, ProductFrames]
) -> LeftOut:
    """Measure a bundle of all products but ``left_out``."""
    strangeness: dict[bool, list[float]] = {True: [], False: []}
    rejected: dict[bool, list[bool]] = {True: [], False: []}
    for name, product in products.items():
        for frame in product.frames:
            found = detector.detect(frame)
            strangeness[name == left_out].append(strangeness_of(found))
            rejected[name == left_out].append(found.verdict == UNKNOWN)
    return LeftOut(
        auroc=unknown_auroc(strangeness[False], strangeness[True]),
        rejected=share(rejected[True]),
        rejected_known=share(rejected[False]),
    )
