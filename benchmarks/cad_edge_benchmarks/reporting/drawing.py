"""Pictures inside the report: frames, heat maps with boxes, curves. No file beside the report."""

import base64
import html
import io
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from cad_edge.data.image import Frame
from cad_edge.heatmap import COLOURS, OPACITY

ENLARGED = 224  # pixels that the longer side of a drawn frame gets
_QUALITY = 88  # of JPEG, at which the grain of a surface stays

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the frame; right and bottom are exclusive."""


def enlarged(rgb: Frame) -> Frame:
    """Enlarge (h, w, 3) uint8 smoothly so that its longer side has `ENLARGED` pixels."""
    scale = ENLARGED / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.array(Image.fromarray(rgb).resize(size, resample=Image.Resampling.BICUBIC))


def data_address(rgb: Frame) -> str:
    """Return (h, w, 3) uint8 as a ``data:`` address that a page can show."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def picture(
    rgb: Frame, size: tuple[int, int], boxes: Sequence[Box], kind: str, description: str
) -> str:
    """Draw a frame with boxes over it as one ``<svg>``.

    Parameters
    ----------
    rgb
        (h, w, 3) uint8, the frame at any size.
    size
        (height, width) of the original frame, in whose pixels the boxes are.
    boxes
        What to mark.
    kind
        Style of the boxes: ``found`` or ``truth``.
    description
        What a reader hears who cannot see it.
    """
    height, width = size
    marks = "".join(
        f'<rect class="{kind}" x="{left}" y="{top}" width="{right - left}" '
        f'height="{bottom - top}"/>'
        for left, top, right, bottom in boxes
    )
    return (
        f'<svg class="picture" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(description)}"><image href="{data_address(rgb)}" '
        f'width="{width}" height="{height}"/>{marks}</svg>'
    )


def colour_bar() -> str:
    """Draw the colours of a heat map over grey, as `cad_edge.heatmap.overlay` mixes them."""
    position = np.linspace(0.0, 1.0, 256)
    weight = OPACITY * np.sqrt(position)[:, None]
    mixed = np.rint(128 * (1 - weight) + COLOURS * weight).astype(np.uint8)
    bar = np.repeat(mixed[None], 12, axis=0)
    return (
        f'<img class="bar" src="{data_address(bar)}" '
        'alt="colours from none over purple and orange to yellow">'
    )


_LEFT, _TOP, _RIGHT, _SIDE = 58, 12, 24, 240  # pixels of a plot: margins, square inside


def roc_figure(
    points: Sequence[tuple[float, float]], at: tuple[float, float], auroc: float | None
) -> str:
    """Draw a ROC curve with the operating point ``at`` as one ``<svg>``.

    Parameters
    ----------
    points
        Shares of good windows rejected and of defects found, from (0, 0) to (1, 1).
    at
        The same two shares at the threshold in force.
    auroc
        Area under the curve, None if undefined.
    """
    line = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    area = f"{_x(0):.1f},{_y(0):.1f} {line} {_x(1):.1f},{_y(0):.1f}"
    said = "undefined" if auroc is None else f"{auroc:.3f}"
    return (
        f'<svg class="plot" viewBox="0 0 {_LEFT + _SIDE + _RIGHT} {_TOP + _SIDE + 48}" role="img" '
        f'aria-label="ROC curve, area under the curve {said}">{_axes()}'
        f'<polygon class="area" points="{area}"/><polyline class="curve" points="{line}"/>'
        f'<line class="guess" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
        f'<circle class="operating" cx="{_x(at[0]):.1f}" cy="{_y(at[1]):.1f}" r="6"/>'
        f'<text class="figure" x="{_x(0.95)}" y="{_y(0.12)}" text-anchor="end">'
        f"area (AUROC) {said}</text></svg>"
    )


def _x(share: float) -> float:
    return _LEFT + _SIDE * share


def _y(share: float) -> float:
    return _TOP + _SIDE * (1 - share)


def _axes() -> str:
    parts = []
    for step in range(0, 101, 25):
        at = step / 100
        parts.append(f'<line class="grid" x1="{_x(at)}" y1="{_y(0)}" x2="{_x(at)}" y2="{_y(1)}"/>')
        parts.append(f'<line class="grid" x1="{_x(0)}" y1="{_y(at)}" x2="{_x(1)}" y2="{_y(at)}"/>')
        parts.append(f'<text x="{_x(at)}" y="{_y(0) + 16}" text-anchor="middle">{step}%</text>')
        parts.append(f'<text x="{_x(0) - 10}" y="{_y(at) + 4}" text-anchor="end">{step}%</text>')
    middle = _y(0.5)
    parts.append(
        f'<text x="{_x(0.5)}" y="{_y(0) + 38}" text-anchor="middle">good windows rejected</text>'
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        "defects found</text>"
    )
    return "".join(parts)


_HEADINGS, _ROW_WIDTH, _ROW_HEIGHT = 104, 392, 44  # pixels of the rows of dots

Group = tuple[str, str, Sequence[float]]
"""Heading, style (``good`` or ``defective``) and finite scores of a row of dots."""


def score_figure(groups: Sequence[Group], threshold: float) -> str:
    """Draw the scores of groups of windows as rows of dots, with the threshold across them.

    Parameters
    ----------
    groups
        One row each.
    threshold
        Score above which a window is rejected.
    """
    values = [threshold, *(value for _, _, scores in groups for value in scores)]
    low, span = min(values), max(max(values) - min(values), 1e-9)

    def place(value: float) -> float:
        # The root keeps good windows apart where one defect scores tens of times more.
        return _HEADINGS + 8 + (_ROW_WIDTH - 16) * math.sqrt((value - low) / span)

    height = _ROW_HEIGHT * len(groups)
    rows = "".join(
        _dots(group, _ROW_HEIGHT * (number + 0.5), place) for number, group in enumerate(groups)
    )
    line = place(threshold)
    side = "end" if line > _HEADINGS + _ROW_WIDTH / 2 else "start"
    return (
        f'<svg class="plot wide" viewBox="0 0 {_HEADINGS + _ROW_WIDTH + 8} {height + 34}" '
        f'role="img" aria-label="scores of good and defective windows and the threshold">{rows}'
        f'<line class="threshold" x1="{line:.1f}" y1="2" x2="{line:.1f}" y2="{height + 4}"/>'
        f'<text x="{line:.1f}" y="{height + 20}" text-anchor="{side}">threshold: rejected '
        "to the right</text></svg>"
    )


def _dots(group: Group, middle: float, place: Callable[[float], float]) -> str:
    """Draw one row around the height ``middle``."""
    heading, style, scores = group
    parts = [
        f'<text x="{_HEADINGS - 8}" y="{middle + 4}" text-anchor="end">{html.escape(heading)}'
        f'</text><line class="grid" x1="{_HEADINGS}" y1="{middle}" '
        f'x2="{_HEADINGS + _ROW_WIDTH}" y2="{middle}"/>'
    ]
    for at, value in enumerate(sorted(scores)):
        # Dots take three heights in turn, so that neighbours do not hide each other.
        height = middle + 9 * (at % 3 - 1)
        parts.append(f'<circle class="{style}" cx="{place(value):.1f}" cy="{height}" r="4"/>')
    return "".join(parts)
