"""Files that give no image, images of one value, and sizes and kinds of pixels that differ."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cad_edge_training.check.files import DecodedImage, UnreadableImage
from cad_edge_training.check.findings import EvidenceImages, Finding, Level, below, counted, names

STRETCHED = 0.02  # of the usual aspect ratio, from which stretching to the input shows


def unreadable_findings(task: str, root: Path, unread: Sequence[UnreadableImage]) -> list[Finding]:
    """Name the files that give no image.

    Parameters
    ----------
    task
        Name of the product.
    root
        Its folder.
    unread
        Files of training and test.
    """
    if not unread:
        return []
    more = f"; and {len(unread) - 1} more" if len(unread) > 1 else ""
    first = f"{below(unread[0].source.path, root)} {unread[0].reason}"
    verb = "gives" if len(unread) == 1 else "give"
    said = f"{counted(len(unread), 'file')} {verb} no image: {first}{more}"
    shown = tuple(EvidenceImages(images=(one.source.path,), said=one.reason) for one in unread)
    return [Finding(task=task, kind="unreadable", level="error", said=said, exhibits=shown)]


def format_findings(task: str, root: Path, seen: Sequence[DecodedImage]) -> list[Finding]:
    """Name images that differ in size or kind of pixels, and those that show nothing.

    Parameters
    ----------
    task
        Name of the product.
    root
        Its folder.
    seen
        Images of training and test that could be read.
    """
    found = _blank(task, root, seen)
    found += _modes(task, root, seen)
    found += _sizes(task, root, seen)
    return found


def _blank(task: str, root: Path, seen: Sequence[DecodedImage]) -> list[Finding]:
    """Name images that show nothing; `cad-edge train` refuses them among the good parts."""
    flat = [one for one in seen if one.flat]
    if not flat:
        return []
    said = (
        f"{counted(len(flat), 'image')} of one value "
        f"({names([one.source.path for one in flat], root)}); look at the camera"
    )
    shown = tuple(_evidence(one, f"everywhere {one.mean:.0f}") for one in flat)
    return [Finding(task=task, kind="blank", level="warning", said=said, exhibits=shown)]


def _modes(task: str, root: Path, seen: Sequence[DecodedImage]) -> list[Finding]:
    counts = Counter(one.mode for one in seen)
    if len(counts) < 2:
        return []
    usual, rest = counts.most_common(1)[0][0], counts.most_common()[1:]
    others = [one for one in seen if one.mode != usual]
    kinds = ", ".join(f"{number} {mode}" for mode, number in rest)
    said = (
        f"most images are {usual}, but {kinds} ({names([one.source.path for one in others], root)})"
        "; save all alike, as the camera of the line does"
    )
    shown = tuple(_evidence(one, one.mode) for one in others)
    return [Finding(task=task, kind="modes", level="warning", said=said, exhibits=shown)]


def _sizes(task: str, root: Path, seen: Sequence[DecodedImage]) -> list[Finding]:
    counts = Counter(one.size for one in seen)
    if len(counts) < 2:
        return []
    (height, width), usual = counts.most_common(1)[0]
    others = [one for one in seen if one.size != (height, width)]
    stretched = sum(_stretch(one, height, width) > STRETCHED for one in others)
    if 2 * usual > len(seen):
        verb = "is" if len(others) == 1 else "are"
        named = names([one.source.path for one in others], root)
        said = f"{len(others)} of {len(seen)} images {verb} not {width}x{height} px ({named})"
    else:
        low, high = (pick(counts, key=math.prod) for pick in (min, max))
        said = f"images have {len(counts)} sizes, from {low[1]}x{low[0]} to {high[1]}x{high[0]} px"
    if stretched:
        said += f"; {stretched} of another shape, which the network's input stretches"
    others.sort(key=lambda one: -_stretch(one, height, width))
    shown = tuple(_evidence(one, f"{one.size[1]}x{one.size[0]} px") for one in others)
    level: Level = "warning" if stretched else "note"
    return [Finding(task=task, kind="sizes", level=level, said=said, exhibits=shown)]


def _stretch(one: DecodedImage, height: int, width: int) -> float:
    """By which share the aspect ratio of an image differs from the usual one."""
    ratio = one.size[1] * height / (one.size[0] * width)
    return max(ratio, 1 / ratio) - 1


def _evidence(one: DecodedImage, said: str) -> EvidenceImages:
    return EvidenceImages(images=(one.source.path,), said=said)
