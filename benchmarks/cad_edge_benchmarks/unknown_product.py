"""Products never learned: every task in turn is left out, and its frames should look strange.

A frame's strangeness is one minus the similarity by which the device itself rejects. The test
images of the learned products, good and defective, stand against those of the one left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cad_edge_benchmarks.evaluation import unknown_auroc
from cad_edge_benchmarks.frames import ProductFrames
from cad_edge_benchmarks.verdicts import UNKNOWN, share
from cad_edge_runtime import Detector


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
            strangeness[name == left_out].append(1.0 - (found.similarity or 0.0))
            rejected[name == left_out].append(found.verdict == UNKNOWN)
    return LeftOut(
        auroc=unknown_auroc(strangeness[False], strangeness[True]),
        rejected=share(rejected[True]),
        rejected_known=share(rejected[False]),
    )
