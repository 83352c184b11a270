"""Which level of evidence found defects rest on, for bundles whose engines say it."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cad_edge.data.image import Frame, decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.data.product import LabelledImage
from cad_edge.heatmap import overlay
from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.instruments.evaluation import Detect
from cad_edge_benchmarks.reporting.document import Markup
from cad_edge_benchmarks.reporting.pictures import (
    MIDDLE,
    box_around,
    framed,
    level_overlay,
    level_words,
    resized,
)
from cad_edge_runtime import Detection, Detector
from cad_edge_runtime.commands import map_scale

NO_LEVEL = "no level"
"""Of defects that were found and rest on none: refused as another product, say."""

MOST_EXAMPLES = 12  # of a task that are drawn

LevelCounts = dict[str, dict[str, int]]
"""Found defects by level, then by kind of defect."""


@dataclass(frozen=True)
class Seen:
    """A test image and what was said of it, without maps."""

    item: LabelledImage
    verdict: str
    score: float | None
    level: str | None
    names: tuple[str, ...]

    @property
    def found(self) -> bool:
        """Whether it has a defect, and is rejected."""
        return self.item.anomalous and self.verdict != "normal"


class LevelRecorder:
    """A detector that keeps which level it named for each test image of each task."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.seen: dict[str, list[Seen]] = {}

    def watching(self, task: str, items: Iterable[LabelledImage]) -> Detect:
        """Return what inspects the test images of a task, one call each and in their order."""
        waiting, seen = iter(items), self.seen.setdefault(task, [])

        def detect(frame: Frame | list[Frame], depth: Path | None) -> Detection:
            found = self._detector.detect(frame, depth=depth)
            names = tuple(found.levels or ())
            seen.append(
                Seen(next(waiting), found.verdict, found.calibrated_score, found.level, names)
            )
            return found

        return detect

    def counts(self) -> dict[str, LevelCounts]:
        """Count the levels of found defects, for tasks whose engines name some."""
        counted = {task: level_counts(seen) for task, seen in self.seen.items()}
        return {task: counts for task, counts in counted.items() if counts}

    def examples(self) -> dict[str, Markup]:
        """Draw a found defect of each kind and level, by task, with the map of its level."""
        manifest = self._detector.manifest
        return {
            task: self._drawn(task, typical(self.seen[task]), manifest) for task in self.counts()
        }

    def _drawn(self, task: str, chosen: Sequence[Seen], manifest: Manifest) -> Markup:
        cards = []
        for one in chosen:
            views = [decode_image(path) for path in one.item.views]
            found = self._detector.detect(
                views if one.item.more else views[0], depth=one.item.depth
            )
            cards.append(_card(one.item, views[0], found, manifest))
        return Markup(f'<h3>{html.escape(task)}</h3><div class="cards">{"".join(cards)}</div>')


def level_counts(seen: Iterable[Seen]) -> LevelCounts:
    """Count found defects by the level that they rest on and by kind.

    Returns
    -------
    Every level that the engines name, in their order, with every kind; `NO_LEVEL` last, where there
    are such defects. Empty where no engine names one.
    """
    every = list(seen)
    names = dict.fromkeys(name for one in every for name in one.names)
    if not names:
        return {}
    found = [one for one in every if one.found]
    if any(one.level is None for one in found):
        names[NO_LEVEL] = None
    kinds = dict.fromkeys(one.item.label for one in every if one.item.anomalous)
    counts = {name: dict.fromkeys(kinds, 0) for name in names}
    for one in found:
        counts[one.level or NO_LEVEL][one.item.label] += 1
    return counts


def typical(seen: Sequence[Seen]) -> list[Seen]:
    """Of each kind of defect and level the found one with the middle score, by kind."""
    groups: dict[tuple[str, str], list[Seen]] = {}
    for one in sorted(seen, key=lambda one: (one.item.label, one.level or "")):
        if one.found and one.level is not None:
            groups.setdefault((one.item.label, one.level), []).append(one)
    ranked = [sorted(group, key=lambda one: one.score or 0.0) for group in groups.values()]
    return [group[len(group) // 2] for group in ranked][:MOST_EXAMPLES]


def _heat(rgb: Frame, found: Detection, manifest: Manifest) -> Frame | None:
    """Draw the heat map over a part; None where there is none, or nothing to draw in it."""
    heat = found.anomaly_map
    if heat is None or found.task is None or not np.isfinite(heat).all():
        return None
    entry = manifest.tasks[found.task]
    if entry.without_depth is not None and not found.depth_used:
        entry = entry.without_depth
    return overlay(rgb, heat, *map_scale(entry))


def _card(item: LabelledImage, frame: Frame, found: Detection, manifest: Manifest) -> str:
    """Draw a part, its heat map and the map of its strongest level beside each other."""
    small, size = resized(frame, MIDDLE), found.size
    truth = [] if item.mask is None else [box_around(decode_mask(item.mask, size))]
    boxes = [defect.box for defect in found.defects]
    pictures = [(framed(small, size, truth, "truth", f"part with {item.label}"), "the part")]
    heat = _heat(small, found, manifest)
    if heat is not None:
        pictures.append((framed(heat, size, boxes, "found", "heat map"), "heat map"))
    of_level = None if found.level is None else level_overlay(small, found.level_map())
    if of_level is not None:
        title = f"map of {found.level}"
        pictures.append((framed(of_level, size, [], "found", title), title))
    drawn = "".join(f"<div>{one}<small>{html.escape(said)}</small></div>" for one, said in pictures)
    words = html.escape(level_words(found.level, found.level_share))
    return (
        f'<figure class="card"><div class="pair trio">{drawn}</div><figcaption>'
        f"<strong>{html.escape(item.label)}</strong> rests on {words}</figcaption></figure>"
    )
