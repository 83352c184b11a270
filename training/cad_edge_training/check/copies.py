"""Copies among the images: within training, across groups, and between training and test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cad_edge.data.product import GOOD
from cad_edge_training.check.files import DecodedImage
from cad_edge_training.check.findings import EvidenceImages, Finding, Kind, Level, below, counted
from cad_edge_training.check.near_copies import NearCopy, near_copies
from cad_edge_training.check.still_frames import distances, nothing_varies, still_frames
from cad_edge_training.check.turned_copies import turned_copies

_STILL = (
    "all good images differ by little more than noise; if they are frames of one part, take images "
    "of different parts, or new ones will be rejected"
)
MOVED = 0.01  # of a side or of the scale, from which it is said


@dataclass(frozen=True)
class Copies:
    """Which images are one picture, by their numbers, training images first."""

    train: int
    """How many of the images are for training."""
    exact: frozenset[tuple[int, int]]
    """Pairs with the same pixels, the smaller number first and for training."""
    near: tuple[NearCopy, ...]
    frames: frozenset[tuple[int, int]] = frozenset()
    """Pairs for training that differ by noise alone, the first frame of a part first."""
    still: bool = False
    """Whether training images differ so little that all could be of one part."""

    def clusters(self) -> tuple[tuple[int, ...], ...]:
        """Images that are copies of one another, at least two, the smallest number first."""
        return _clusters(self._pairs())

    def learned(self) -> tuple[tuple[int, ...], ...]:
        """Find the same among training images, in which no test image has a say."""
        return _clusters([pair for pair in self._pairs() if pair[1] < self.train])

    def _pairs(self) -> list[tuple[int, int]]:
        near = {(one.first, one.second) for one in self.near}
        return sorted(self.exact | near | self.frames)

    def distinct(self, count: int) -> int:
        """How many of the first ``count`` training images there are, copies counted once."""
        members = [sum(number < count for number in cluster) for cluster in self.learned()]
        return count - sum(max(0, number - 1) for number in members)


def find_copies(train: Sequence[DecodedImage], test: Sequence[DecodedImage]) -> Copies:
    """Find copies among training images, and of them in the test images.

    Parameters
    ----------
    train, test
        Images that could be read. Copies are numbered over both, training images first.
    """
    everything = [*train, *test]
    first_with: dict[str, int] = {}
    exact: set[tuple[int, int]] = set()
    alone: list[int] = []
    for number, seen in enumerate(everything):
        earlier = first_with.setdefault(seen.digest, number)
        if earlier == number:
            alone.append(number)
        elif earlier < len(train):
            exact.add((earlier, number))
    # Copies of copies say nothing new, and flat pictures agree with whatever is flat.
    kept = [number for number in alone if not everything[number].flat]
    learned = sum(number < len(train) for number in kept)
    pictures = [everything[number].contrast for number in kept]
    found = near_copies(pictures, learned)
    # Training pictures alone, as for groups no test image has a say in them.
    found += turned_copies(pictures[:learned], [(one.first, one.second) for one in found])
    parts = [seen.source.part for seen in everything]
    near = tuple(
        NearCopy(kept[one.first], kept[one.second], one.fit, one.own)
        for one in found
        if parts[kept[one.first]] != parts[kept[one.second]]
    )
    lying = pictures[:learned]
    in_place = distances(lying) if lying else np.zeros((0, 0), np.float32)
    frames = [(kept[first], kept[second]) for first, second in still_frames(in_place)]
    apart = frozenset(pair for pair in frames if parts[pair[0]] != parts[pair[1]])
    still = not apart and nothing_varies(in_place)
    return Copies(len(train), frozenset(exact), near, apart, still)


def _clusters(pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Join pairs that share a member."""
    clusters: list[set[int]] = []
    for pair in pairs:
        touched = [cluster for cluster in clusters if cluster & set(pair)]
        clusters = [cluster for cluster in clusters if cluster not in touched]
        clusters.append(set(pair).union(*touched))
    return tuple(sorted(tuple(sorted(cluster)) for cluster in clusters))


def copy_findings(
    task: str,
    root: Path,
    images: tuple[Sequence[DecodedImage], Sequence[DecodedImage]],
    copies: Copies,
    groups: Sequence[str] | None,
) -> list[Finding]:
    """Turn copies into findings.

    Parameters
    ----------
    task
        Name of the product.
    root
        Its folder.
    images
        Training and test images that could be read.
    copies
        Of them.
    groups
        Group of every good training image, which come first, if there are any.
    """
    shown = _Shown(root, [*images[0], *images[1]], copies)
    learned = copies.learned()
    found = []
    if leaks := [cluster for cluster in copies.clusters() if cluster[-1] >= copies.train]:
        found.append(shown.finding(task, "leak", _leak(shown, leaks), leaks))
    if groups is not None:
        across = [own for own in learned if len({groups[n] for n in own if n < len(groups)}) > 1]
        if across:
            said = (
                f"{counted(len(across), 'picture')} stand as copies in several groups; give copies "
                "one group, or what is held out was learned"
            )
            found.append(shown.finding(task, "copies_across_groups", said, across))
    if learned:
        count = sum(map(len, learned))
        said = (
            f"{count} of {len(images[0])} good images show {counted(len(learned), 'picture')}, "
            f"each more than once ({shown.named(learned[0])}); keep one of each"
        )
        found.append(shown.finding(task, "copies", said, learned))
    if copies.still:
        found.append(Finding(task=task, kind="still", level="warning", said=_STILL))
    return found


def _leak(shown: "_Shown", leaks: Sequence[tuple[int, ...]]) -> str:
    tested = [number for cluster in leaks for number in cluster if number >= shown.copies.train]
    defective = sum(shown.images[number].source.label != GOOD for number in tested)
    judged = f", {defective} of them defective by the test" if defective else ""
    return (
        f"{counted(len(tested), 'test image')} {'is' if len(tested) == 1 else 'are'} in training "
        f"too{judged} ({shown.named(leaks[0])}); keep each picture on one side, or the test "
        "measures memory"
    )


@dataclass(frozen=True)
class _Shown:
    """Images as findings show them."""

    root: Path
    images: Sequence[DecodedImage]
    copies: Copies

    def named(self, cluster: tuple[int, ...]) -> str:
        """Name the first copy of a cluster and what it is a copy of."""
        tested = [number for number in cluster if number >= self.copies.train]
        last = tested[0] if tested else cluster[1]
        paths = [self.images[number].source.path for number in (last, cluster[0])]
        return " is ".join(below(path, self.root) for path in paths)

    def finding(
        self, task: str, kind: Kind, said: str, clusters: Sequence[tuple[int, ...]]
    ) -> Finding:
        """Make a finding of clusters, those first that are copies beyond doubt."""
        exhibits = [self._evidence(cluster) for cluster in clusters]
        exhibits.sort(key=lambda one: -one.figures["correlation"])
        level: Level = "error" if kind == "leak" else "warning"
        return Finding(task=task, kind=kind, level=level, said=said, exhibits=tuple(exhibits))

    def _evidence(self, cluster: tuple[int, ...]) -> EvidenceImages:
        """Show a cluster by what its clearest pair has in common."""
        paths = tuple(self.images[number].source.path for number in cluster)
        members = set(cluster)
        near = [one for one in self.copies.near if {one.first, one.second} <= members]
        if any(set(pair) <= members for pair in self.copies.exact):
            words = "the same pixels" if not near else "the same pixels, and near copies"
            return EvidenceImages(images=paths, said=words, figures={"correlation": 1.0})
        if not near:
            return EvidenceImages(
                images=paths, said="the same but for noise", figures={"correlation": 1.0}
            )
        clearest = max(near, key=lambda one: one.own)
        rows, columns = clearest.fit.rows, clearest.fit.columns
        figures = {
            "correlation": clearest.own,
            "shift_rows": rows.shift,
            "shift_columns": columns.shift,
            "scale_rows": rows.scale,
            "scale_columns": columns.scale,
        }
        return EvidenceImages(images=paths, said=_words(clearest), figures=figures)


def _words(pair: NearCopy) -> str:
    """Say how a near copy differs from its picture."""
    rows, columns = pair.fit.rows, pair.fit.columns
    said = f"detail that is theirs alone correlates by {pair.own:.2f}"
    if not pair.turn.upright:
        said += f"; {pair.turn.words()}"
    moved = [
        f"{100 * abs(axis.shift):.0f} % {where}"
        for axis, where in ((columns, "across"), (rows, "down"))
        if abs(axis.shift) > MOVED
    ]
    if moved:
        said += f"; moved by {' and '.join(moved)}"
    if max(abs(rows.scale - 1), abs(columns.scale - 1)) > MOVED:
        said += f"; scaled to {100 * columns.scale:.0f} % by {100 * rows.scale:.0f} %"
    return said
