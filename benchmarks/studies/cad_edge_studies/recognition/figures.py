"""Figures of recognition: what bundles of one size say of products that they know and do not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cad_edge_benchmarks.instruments.metrics import mean_defined
from cad_edge_benchmarks.instruments.verdicts import share
from cad_edge_studies.open_set import Prediction, novelty_auroc

Figures = dict[str, Any]


def rotations(names: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Give bundles of ``size`` neighbours in the circle of ``names``; one where all are in it."""
    starts = range(1 if size >= len(names) else len(names))
    for start in starts:
        yield tuple(sorted(names[(start + step) % len(names)] for step in range(size)))


def size_figures(bundles: Mapping[tuple[str, ...], Sequence[Prediction]]) -> Figures:
    """Figures of all bundles of one size; shares by category, then their means.

    ``bundles`` holds, by the products that each has learned, what it says of all test images.
    """
    defective: dict[str, list[bool]] = {}
    misrouted: dict[str, list[bool]] = {}
    unlearned: dict[str, list[Prediction]] = {}
    for learned, predictions in bundles.items():
        for one in predictions:
            if one.product not in learned:
                unlearned.setdefault(one.product, []).append(one)
            elif one.anomalous:
                defective.setdefault(one.product, []).append(one.unknown)
            else:
                misrouted.setdefault(one.product, []).append(one.task != one.product)
    rejected = {name: [one.unknown for one in found] for name, found in unlearned.items()}
    return {
        "bundles": len(bundles),
        "defective_unknown": shares(defective),
        "good_not_routed": shares(misrouted),
        "left_out_unknown": shares(rejected),
        "taken_for": {name: _taken_for(found) for name, found in sorted(unlearned.items())},
        "auroc": mean_defined([novelty_auroc(said, names) for names, said in bundles.items()]),
    }


def shares(found: Mapping[str, list[bool]]) -> Figures:
    """Share of true flags by category, and the mean of these shares."""
    every = {name: share(flags) for name, flags in sorted(found.items())}
    return {"mean": mean_defined([*every.values()]), "categories": every}


def _taken_for(found: Sequence[Prediction]) -> Figures | None:
    """Return the product that unlearned frames pass for most often; None where none does."""
    counts = Counter(one.task for one in found if one.task is not None)
    if not counts:
        return None
    task, times = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return {"product": task, "share_of_frames": times / len(found)}
