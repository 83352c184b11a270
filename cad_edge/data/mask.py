"""Defect masks: from what a labelling tool wrote to which pixels are defective.

Black is good. What is defective is told by the values of the file, which are of four kinds:

    one value besides 0             it is the defect, however faint: 1, 255, or one of a 16-bit file
    class numbers                   every one of them: 1 to 31 in a file without loss, or values
                                    that each fill an area of their own
    edges that were smoothed        by resizing or by JPEG: values from half of the brightest up, so
                                    that the area stays what it was
    black drawn on nothing          of a file with transparency: what can be seen

Anything else is refused, for a mask that is read wrongly moves every pixel metric and shows nowhere
else: grey values that are neither, a mask without a pixel, one without a black ground, and one that
is inverted.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cad_edge.data.codecs.webp import is_lossless
from cad_edge.data.ground_truth import mask_files
from cad_edge.data.image import decode_pixels
from cad_edge.errors import ImageError

CLASSES = 31  # largest number of a class; grey values of an edge go further
FEW = 16  # distinct values that someone may have chosen; ringing and resizing make more
REACH = 8  # pixels from an area of full value to the end of its smoothed edge
CORE = 0.8  # of the full value, which every area of defect reaches somewhere
GROUND = 0.05  # of a mask with several colours, at least, is black: more than a line or a frame
BRIGHT = 128  # of 255: a mask in JPEG has its defects drawn in white

_LOSSY_TIFF = {"jpeg", "tiff_jpeg", "webp"}

Marks = NDArray[np.bool_]
"""(height, width) bool, True on the defect."""


def decode_mask(path: Path, size: tuple[int, int]) -> Marks:
    """Read the mask of a defective image.

    Parameters
    ----------
    path
        Image file, or a folder of several of which each marks a part of the defect.
    size
        (height, width) of the image that the mask belongs to.

    Returns
    -------
    (height, width) bool, True on the defect; at least one pixel.

    Raises
    ------
    ImageError
        As `decode_image`, or the mask has another size than its image, marks nothing, is inverted,
        has no black ground, or holds grey values that do not say where the defect ends.
    """
    marked = np.zeros(size, np.bool_)
    for file in mask_files(path):
        found = read_mask(file)
        if found.shape != size:
            raise ImageError(
                f"the mask {file} is {found.shape[1]}x{found.shape[0]} px but its image is "
                f"{size[1]}x{size[0]} px; give the mask its image's size"
            )
        if fault := mask_fault(found):
            raise ImageError(f"the mask {file} cannot be used: {fault}")
        marked |= found
    return marked


def mask_fault(marked: Marks) -> str:
    """Say what is wrong with a mask as a whole, and what to do; "" where nothing is.

    An inverted mask marks all of the frame but its defect, so what it spares lies inside, or at one
    edge or corner. A defect can cover a whole image, and a large one can leave some of it out: only
    a mask that is marked along the border and yet spares a piece is taken for inverted.
    """
    share = float(marked.mean())
    if share == 0:
        return "it marks no pixel, and its image is that of a defect; draw the defect or remove it"
    border = float(np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]]).mean())
    if border == 1 and share <= 0.5:
        return (
            f"it marks its whole border and {100 * share:.1f} % of its image, as an inverted mask "
            "does, and one with a frame drawn around it; make the defect white and all else black"
        )
    if share < 1 and (border == 1 or (border > 0.75 and (share > 0.9 or _spares_one_edge(marked)))):
        return (
            f"it marks {100 * share:.1f} % of its image and spares a piece, as an inverted mask "
            "does; make the defect white and all else black, or mark the whole image"
        )
    return ""


def _spares_one_edge(marked: Marks) -> bool:
    """Whether more than half is marked, and three corners or four."""
    return bool(marked.mean() > 0.5 and marked[:: len(marked) - 1, :: len(marked[0]) - 1].sum() > 2)


def read_mask(path: Path) -> Marks:
    """Read which pixels a mask file marks, whatever their number.

    Raises
    ------
    ImageError
        As `decode_image`, or the file has no black ground, or holds grey values that do not say
        where the defect ends.
    """
    pixels, lossy = decode_pixels(path), _is_lossy(path)
    values = _values(pixels, path)
    noise = BRIGHT // 8 if lossy else 0
    _require_ground(pixels, values <= noise, 0, 2 * noise, path)
    levels = np.unique(values[values > 0])
    if not lossy and (len(levels) <= 1 or _are_classes(values, levels)):
        _require_ground(pixels, values == 0, GROUND, 0, path)
        return values > 0
    peak = float(levels[-1]) if len(levels) else 0.0
    if lossy and peak < BRIGHT:
        if peak < BRIGHT / 8:  # black, and what compression makes of it
            return np.zeros(values.shape, np.bool_)
        raise ImageError(
            f"the mask {path} has no white pixel and is stored with loss, so its values cannot "
            "be told from noise; save it as PNG with the defect in white"
        )
    full = _full_value(values, peak)
    return _halved(values, full, full / 4 if lossy or len(levels) > FEW else 0.0, path)


def _values(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """(height, width) of one value for each pixel, 0 for what is black or nothing."""
    if pixels.ndim == 2:
        if pixels.dtype.kind == "f" and not (np.isfinite(pixels).all() and (pixels >= 0).all()):
            raise ImageError(
                f"the mask {path} holds negative, infinite or undefined values; save it as black "
                "and white"
            )
        return pixels
    colour: NDArray[Any] = pixels[..., :3].max(axis=2)
    if pixels.shape[2] == 3:
        return colour
    alpha: NDArray[Any] = pixels[..., 3]
    if alpha.min() < alpha.max() and not colour[alpha > 0].any():
        return alpha  # drawn in black on a transparent ground
    shown: NDArray[Any] = (colour.astype(np.uint32) * alpha + 127) // 255
    return shown


def _require_ground(
    pixels: NDArray[Any], black: Marks, least: float, noise: int, path: Path
) -> None:
    """Raise ImageError where no more than a share is black, unless the rest has one colour.

    Of colours it is the brightest channel that counts, so that red on white has one value.
    """
    share = float(black.mean())
    if share <= least and float(np.max(np.ptp(pixels[~black], axis=0), initial=0)) > noise:
        raise ImageError(
            f"the mask {path} has no black ground: {100 * share:.1f} % of it is black, so that "
            "nothing says which of its colours is the defect; make the defect white and all else "
            "black"
        )


def _are_classes(values: NDArray[Any], levels: NDArray[Any]) -> bool:
    """Whether values are numbers of classes, and not those of a smoothed edge.

    The value of an edge lies between its neighbours; that of a class is equal to some around it.
    """
    whole = (levels == np.round(levels)).all()
    if levels[-1] <= CLASSES and len(levels) <= FEW and whole:
        return True
    inner = values[1:-1, 1:-1]
    flat = np.ones(inner.shape, np.bool_)
    for shifted in _around(values):
        flat &= shifted == inner
    return bool(np.isin(levels, inner[flat]).all())


def _around(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Shift an array to each of nine neighbours; each (height - 2, width - 2)."""
    height, width = values.shape
    return [
        values[down : height - 2 + down, right : width - 2 + right]
        for down in range(3)
        for right in range(3)
    ]


def _full_value(values: NDArray[Any], peak: float) -> float:
    """Value of the defect: the brightest where it fills an area, else that of white."""
    inside = np.logical_and.reduce(_around(values == peak))
    if inside.any():
        return peak
    if values.dtype.kind == "f":
        return max(peak, 1.0)
    return 65535.0 if values.dtype == np.uint16 else 255.0


def _halved(values: NDArray[Any], full: float, ringing: float, path: Path) -> Marks:
    """Mark what is at least half as bright as the defect, where the rest is its edge.

    Up to ``ringing``, values are taken for what compression leaves beside an edge. A line so thin
    that smoothing left nothing of its value has no half: it would come out too wide or not at all.
    """
    near: Marks = values >= CORE * full
    for _ in range(REACH):
        near[1:] |= near[:-1].copy()
        near[:-1] |= near[1:].copy()
        near[:, 1:] |= near[:, :-1].copy()
        near[:, :-1] |= near[:, 1:].copy()
    least = ringing if near.any() else 0.0
    if astray := int(((values > least) & ~near).sum()):
        raise ImageError(
            f"the mask {path} holds grey values that belong to no edge ({astray} pixels), so that "
            "its defects cannot be told from its ground; save it as black and white"
        )
    marked: Marks = values >= full / 2
    return marked


def _is_lossy(path: Path) -> bool:
    """Whether a file's format changes the values that were drawn."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if head.startswith(b"RIFF"):
                return not is_lossless(head + file.read())
            if not head.startswith((b"II", b"MM")):
                return head.startswith(b"\xff\xd8")
            file.seek(0)
            with Image.open(file, formats=("TIFF",)) as image:
                return image.info.get("compression") in _LOSSY_TIFF
    except Exception:  # of what `decode_pixels` has read, Pillow may not know all
        return False
