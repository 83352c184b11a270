"""Masks that fit no image, are empty, or are missing where others have one."""

from collections.abc import Sequence
from pathlib import Path

from cad_edge.data.ground_truth import mask_files
from cad_edge.data.left_out import GOOD
from cad_edge.data.mask import mask_fault, read_mask
from cad_edge.errors import CadEdgeError
from cad_edge_training.check.files import DecodedImage
from cad_edge_training.check.findings import (
    EvidenceImages,
    Finding,
    Kind,
    Level,
    below,
    counted,
    names,
)

NEARLY_ALL = 0.9  # of an image; a mask that marks more is probably inverted


def mask_findings(task: str, root: Path, test: Sequence[DecodedImage]) -> list[Finding]:
    """Look at the masks of the defective test images.

    Parameters
    ----------
    task
        Name of the product.
    root
        Its folder.
    test
        Test images that could be read.
    """
    defective = [seen for seen in test if seen.source.label != GOOD]
    masked = [seen for seen in defective if seen.source.mask is not None]
    wrong: list[EvidenceImages] = []
    inverted: list[EvidenceImages] = []
    for seen in masked:
        said, share = _problem(seen)
        if said:
            kept = inverted if share > NEARLY_ALL else wrong
            kept.append(_evidence(seen, said, share))
    found = []
    if wrong:
        said = f"{counted(len(wrong), 'mask')} cannot be used: {_first(wrong, root)}"
        found.append(_finding(task, "mask", "error", said, wrong))
    if inverted:
        said = f"{counted(len(inverted), 'mask')} may be inverted: {_first(inverted, root)}"
        found.append(_finding(task, "mask_inverted", "warning", said, inverted))
    missing = [seen.source.path for seen in defective if seen.source.mask is None]
    if masked and missing:
        said = (
            f"{len(missing)} of {len(defective)} defective test images have no mask "
            f"({names(missing, root)}); they count in image scores alone"
        )
        bare = [EvidenceImages(images=(path,), said="no mask") for path in missing]
        found.append(_finding(task, "masks_missing", "warning", said, bare))
    return found


def _problem(seen: DecodedImage) -> tuple[str, float]:
    """Say what is wrong with the mask of an image, "" if nothing, and the share that it marks.

    The device's reader stops at the first of these; here all are named.
    """
    mask = seen.source.mask
    assert mask is not None
    share = 0.0
    try:
        for file in mask_files(mask):
            marked = read_mask(file)
            if marked.shape != seen.size:
                sizes = (f"{width}x{height} px" for height, width in (marked.shape, seen.size))
                return "it is {} and its image {}".format(*sizes), 0.0
            if not marked.any():
                return "it is empty", 0.0
            if fault := mask_fault(marked):
                return fault, 0.0  # refused by what measures, and so no mere warning
            share = max(share, float(marked.mean()))
    except CadEdgeError as problem:
        return str(problem).removeprefix(f"{mask} "), 0.0
    if share > NEARLY_ALL:
        return f"it marks {100 * share:.0f} % of its image", share
    return "", share


def _files(mask: Path) -> tuple[Path, ...]:
    """Files of a mask to show: the first where it is a folder of several."""
    try:
        return mask_files(mask)[:1]
    except CadEdgeError:
        return (mask,)


def _first(wrong: Sequence[EvidenceImages], root: Path) -> str:
    """Name the first mask, and how many more there are."""
    more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    return f"{below(wrong[0].images[-1], root)}: {wrong[0].said}{more}"


def _evidence(seen: DecodedImage, said: str, share: float) -> EvidenceImages:
    assert seen.source.mask is not None
    images = (seen.source.path, *_files(seen.source.mask))
    return EvidenceImages(images=images, said=said, figures={"marked_share": share})


def _finding(
    task: str, kind: Kind, level: Level, said: str, shown: Sequence[EvidenceImages]
) -> Finding:
    return Finding(task=task, kind=kind, level=level, said=said, exhibits=tuple(shown))
