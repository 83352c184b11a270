"""Bundles of some of the products of a learned stream, without an export for each.

They are versions of one bundle that holds every product (`synthetic_tasks`): selector, rejection
thresholds and map rules are fitted to exactly their tasks by the functions that the exporter calls,
inference graphs and score thresholds stay.
"""

from collections.abc import Sequence

from cad_edge_benchmarks.instruments.synthetic_tasks import VersionMaker
from cad_edge_runtime import Detector
from cad_edge_studies.learned_stream import LearnedStream


class ProductSubsets:
    """Puts one version after another in force."""

    def __init__(self, learned: LearnedStream, seed: int) -> None:
        bundle = learned.export(learned.artifacts)
        self._learned = learned
        self._maker = VersionMaker(bundle, learned.place / "versions", seed, keeps_radius=False)

    def open(self, names: Sequence[str]) -> Detector:
        """Open a bundle of the tasks ``names`` alone."""
        self._maker.commit(names)
        return self._learned.open(self._maker.path)
