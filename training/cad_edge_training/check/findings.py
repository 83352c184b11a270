"""What a check says: findings with the images that show them, and their order of gravity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from cad_edge.schema import Record

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""From the gravest."""

Kind = Literal[
    "leak",
    "unreadable",
    "mask",
    "folder",
    "copies",
    "copies_across_groups",
    "still",
    "suspects",
    "drift",
    "blank",
    "modes",
    "sizes",
    "mask_inverted",
    "masks_missing",
    "too_few",
]
KINDS: tuple[Kind, ...] = (
    "leak",
    "unreadable",
    "folder",
    "mask",
    "copies_across_groups",
    "copies",
    "blank",
    "still",
    "modes",
    "suspects",
    "drift",
    "sizes",
    "mask_inverted",
    "masks_missing",
    "too_few",
)
"""From the gravest, within a level."""


class EvidenceImages(Record):
    """Images that belong together and show a finding: one suspect, or all copies of a picture."""

    images: tuple[Path, ...]
    said: str = Field(description="a few words on these images")
    figures: dict[str, float] = Field(default={}, description="what was measured, by name")


class Finding(Record):
    """One thing that is wrong with the images of a product, or may be."""

    task: str
    kind: Kind
    level: Level
    said: str = Field(description="one sentence")
    exhibits: tuple[EvidenceImages, ...] = ()


class ImageFacts(Record):
    """What was measured of one image that could be read."""

    path: Path
    part: Literal["train", "test"]
    label: str = Field(description="good or the kind of defect")
    group: str | None = None
    width: int
    height: int
    mode: str = Field(description="kind of pixels in the file")
    mean: float = Field(description="mean brightness in grey levels")
    black: float = Field(description="share of pixels that are black")
    white: float = Field(description="share of pixels with a channel at its end")
    suspicion: float | None = Field(
        default=None, description="robust z of how odd a good part is; null where it was not judged"
    )


class ProductCheck(Record):
    """Everything that was found out about the images of one product."""

    task: str
    path: Path
    train: int = Field(description="images of good parts to learn from that could be read")
    distinct: int = Field(description="of them, copies counted once")
    test_good: int
    test_defective: int
    groups: int | None = Field(description="of the training images; null where none are stated")
    supported_rate: float | None = Field(
        description="smallest false-reject rate that so many independent good parts support"
    )
    findings: tuple[Finding, ...]
    images: tuple[ImageFacts, ...]
    seconds: float


class CheckReport(Record):
    """What `cad-edge check --out` writes as JSON."""

    kind: Literal["cad-edge check"] = "cad-edge check"
    format: Literal[1] = 1
    stream: str = Field(description="name of the line")
    false_reject_rate: float = Field(description="stated by the user")
    version: str = Field(description="of cad-edge")
    products: tuple[ProductCheck, ...]

    def counts(self) -> dict[Level, int]:
        """Count the findings of every level."""
        found = [one.level for product in self.products for one in product.findings]
        return {level: found.count(level) for level in LEVELS}


def gravest_first(findings: Sequence[Finding]) -> list[Finding]:
    """Order findings by level, then by kind; equal ones keep their order."""
    return sorted(findings, key=lambda one: (LEVELS.index(one.level), KINDS.index(one.kind)))


def summary_lines(findings: Sequence[Finding], limit: int = 5) -> list[str]:
    """Say the gravest findings of any number of products in at most ``limit`` lines.

    Parameters
    ----------
    findings
        In any order; notes are left out.
    limit
        Most lines, at least one; the last one counts what there was no room for.
    """
    grave = [one for one in gravest_first(findings) if one.level != "note"]
    shown = grave if len(grave) <= limit else grave[: max(limit - 1, 0)]
    lines = [f"{one.level}: {one.task}: {one.said}" for one in shown]
    if rest := len(grave) - len(shown):
        lines.append(f"{rest} more; `cad-edge check` lists and shows them")
    return lines


def names(paths: Sequence[Path], root: Path, most: int = 3) -> str:
    """Name some files by their place below ``root``, and count the others."""
    shown = [below(path, root) for path in paths[:most]]
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(shown) + more


def below(path: Path, root: Path) -> str:
    """Name a file by its place below ``root`` where it lies there."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def counted(count: int, noun: str) -> str:
    """Write ``1 image`` or ``3 images``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
