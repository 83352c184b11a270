"""Figures of recognition: what bundles of one size say of products that they know and do not."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cad_edge_benchmarks.instruments.evaluation import unknown_auroc
from cad_edge_benchmarks.instruments.metrics import mean_defined
from cad_edge_benchmarks.instruments.verdicts import share

Figures = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What the device says of one test image."""

    product: str
    anomalous: bool
    task: str | None
    nearest: str | None
    strangeness: float

    @property
    def unknown(self) -> bool:
        """Whether the verdict is ``unknown_product``."""
        return self.task is None


@dataclass(frozen=True)
class Look:
    """All test images through the bundle of some products."""

    learned: tuple[str, ...]
    seen: list[Seen]


def rotations(names: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Give bundles of ``size`` neighbours in the circle of ``names``; one where all are in it."""
    starts = range(1 if size >= len(names) else len(names))
    for start in starts:
        yield tuple(sorted(names[(start + step) % len(names)] for step in range(size)))


def size_figures(looks: Sequence[Look]) -> Figures:
    """Figures of all bundles of one size; shares by category, then their means."""
    defective: dict[str, list[bool]] = {}
    astray: dict[str, list[bool]] = {}
    strangers: dict[str, list[Seen]] = {}
    for look in looks:
        for one in look.seen:
            if one.product not in look.learned:
                strangers.setdefault(one.product, []).append(one)
            elif one.anomalous:
                defective.setdefault(one.product, []).append(one.unknown)
            else:
                astray.setdefault(one.product, []).append(one.task != one.product)
    rejected = {name: [one.unknown for one in seen] for name, seen in strangers.items()}
    return {
        "bundles": len(looks),
        "defective_unknown": shares(defective),
        "good_not_routed": shares(astray),
        "left_out_unknown": shares(rejected),
        "taken_for": {name: _taken_for(seen) for name, seen in sorted(strangers.items())},
        "auroc": mean_defined([_auroc(look) for look in looks]),
    }


def shares(found: Mapping[str, list[bool]]) -> Figures:
    """Share of true flags by category, and the mean of these shares."""
    every = {name: share(flags) for name, flags in sorted(found.items())}
    return {"mean": mean_defined([*every.values()]), "categories": every}


def _taken_for(seen: Sequence[Seen]) -> Figures | None:
    """Return the product that frames of a stranger pass for most often; None where none does."""
    counts = Counter(one.task for one in seen if one.task is not None)
    if not counts:
        return None
    task, times = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return {"product": task, "share_of_frames": times / len(seen)}


def _auroc(look: Look) -> float | None:
    known = [one.strangeness for one in look.seen if one.product in look.learned]
    other = [one.strangeness for one in look.seen if one.product not in look.learned]
    return unknown_auroc(known, other)
