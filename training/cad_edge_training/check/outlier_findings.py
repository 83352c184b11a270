"""What is said of outliers among the good parts: a warning beyond chance, else a list."""

from collections.abc import Sequence
from pathlib import Path

from cad_edge.calibration import find_outliers
from cad_edge_training.check.files import DecodedImage
from cad_edge_training.check.findings import EvidenceImages, Finding, Level, below
from cad_edge_training.check.outliers import OutlierRanking

SHOWN = 0.1  # of the images
FEWEST, MOST = 5, 24  # images that are shown


def outlier_findings(
    task: str, root: Path, good: Sequence[DecodedImage], outliers: OutlierRanking
) -> list[Finding]:
    """Show the oddest good parts; a warning where some are odd beyond chance.

    Parameters
    ----------
    task
        Name of the product.
    root
        Its folder.
    good
        Images of good parts, as many as ``outliers`` has.
    outliers
        Of them.
    """
    if not outliers.score.any():
        return []
    odd = find_outliers(outliers.score)
    ranking = outliers.ranking()
    count = min(max(FEWEST, round(SHOWN * len(good)), int(odd.sum())), MOST, len(good))
    exhibits = tuple(
        EvidenceImages(
            images=(good[number].source.path,),
            said=f"rank {rank}, robust z {outliers.robust_z[number]:.1f}"
            + (", beyond chance" if odd[number] else ""),
            figures={"rank": rank, "robust_z": float(outliers.robust_z[number])},
        )
        for rank, number in enumerate(ranking[:count], start=1)
    )
    first = good[ranking[0]].source.path
    named = f"{below(first, root)}, robust z {outliers.robust_z[ranking[0]]:.1f}"
    level: Level = "warning" if odd.any() else "note"
    said = _sentence(int(odd.sum()), named)
    return [Finding(task=task, kind="suspects", level=level, said=said, exhibits=exhibits)]


def _sentence(odd: int, named: str) -> str:
    """Say how many images are odd beyond chance, and name the oddest of all."""
    if odd == 0:
        return f"no good image stands out; the oddest is {named}"
    if odd == 1:
        return (
            f"1 good image is unlike the others ({named}); look at it, and take it out if it is "
            "not good"
        )
    return (
        f"{odd} good images are unlike the others ({named} first); look at them, and take out what "
        "is not good"
    )
