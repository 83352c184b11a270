"""Example frames of the report: which are shown, and how one is drawn."""

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.image import decode_image, decode_mask
from cad_edge.heatmap import overlay
from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.demo.inspections import Inspected, Inspections, Maps
from cad_edge_benchmarks.demo.results import ProductResult
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN
from cad_edge_benchmarks.reporting.drawing import Box, enlarged, picture
from cad_edge_runtime.commands import map_scale

MOST_MISTAKES = 4  # of a product that are shown

VERDICTS = {"normal": "good", "anomalous": "defect", UNKNOWN: "unknown product"}
"""What the report calls a verdict."""


def typical(frames: Sequence[Inspected]) -> Inspected | None:
    """Frame with the middle score, so that nobody picked it; None of none."""
    judged = [frame for frame in frames if frame.calibrated_score is not None] or list(frames)
    ranked = sorted(judged, key=lambda frame: frame.calibrated_score or 0.0)
    return ranked[len(ranked) // 2] if ranked else None


def chosen(product: ProductResult) -> list[Inspected]:
    """Return a typical good window and a typical window of each kind of defect."""
    groups = [product.good]
    groups += [
        [frame for frame in product.defective if frame.defect == kind]
        for kind in product.found_by_kind()
    ]
    return [frame for frame in map(typical, groups) if frame is not None]


def mistaken(product: ProductResult) -> list[Inspected]:
    """Return good windows that were rejected and defects that were missed."""
    return [frame for frame in product.frames if frame.rejected != (frame.defect is not None)]


def refused(product: ProductResult) -> list[Inspected]:
    """Return defective windows that were taken out under another product or as unknown."""
    return [
        frame
        for frame in product.defective
        if frame.rejected and frame.recognised_as != product.name
    ]


def rendered(
    frames: Sequence[Inspected], inspections: Inspections, maps: Maps, manifest: Manifest
) -> str:
    """Draw cards of ``frames``, which are some of ``inspections``."""
    numbers = {frame.path: number for number, frame in enumerate(inspections.frames)}
    cards = [_card(frame, maps.get(numbers[frame.path]), manifest) for frame in frames]
    return f'<div class="cards">{"".join(cards)}</div>'


def _card(frame: Inspected, heat: NDArray[np.float32] | None, manifest: Manifest) -> str:
    rgb = enlarged(decode_image(frame.path))
    truth = [] if frame.mask is None else [bounding_box(frame.mask, frame.size)]
    left = picture(rgb, frame.size, truth, "truth", f"window of {frame.product}")
    drawn = rgb
    if heat is not None and frame.task is not None:
        drawn = overlay(rgb, heat, *map_scale(manifest.tasks[frame.task]))
    right = picture(drawn, frame.size, frame.boxes, "found", "heat map and what was found")
    shown = "no heat map: refused" if heat is None else "heat map"
    mark, tone = _judgement(frame, manifest)
    return (
        f'<figure class="card"><div class="pair"><div>{left}<small>the window</small></div>'
        f"<div>{right}<small>{shown}</small></div></div><figcaption>"
        f"<strong>{html.escape(_truth(frame, manifest))}</strong> "
        f'<span class="verdict {tone}">{mark} verdict: {VERDICTS[frame.verdict]}</span><br>'
        f"{html.escape(_reason(frame, manifest))}</figcaption></figure>"
    )


def _judgement(frame: Inspected, manifest: Manifest) -> tuple[str, str]:
    """Mark and style of a verdict; what was taken out as another product is half right."""
    stranger = frame.product not in manifest.tasks
    if stranger or frame.rejected != (frame.defect is not None):
        right = stranger and frame.verdict == UNKNOWN
        return ("✓", "right") if right else ("✗", "wrong")
    return ("✓", "right") if frame.task == frame.product else ("~", "partly")


def bounding_box(mask: Path, size: tuple[int, int]) -> Box:
    """Box around everything in a mask of a frame of ``size`` (height, width)."""
    rows, columns = np.nonzero(decode_mask(mask, size))
    if not len(rows):
        return (0, 0, 0, 0)
    return (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def _truth(frame: Inspected, manifest: Manifest) -> str:
    if frame.product not in manifest.tasks:
        return f"{frame.product}, never learned"
    return "good" if frame.defect is None else words(frame.defect)


def words(kind: str) -> str:
    """Name of a kind of defect as a person writes it."""
    return kind.replace("_", " ")


def _reason(frame: Inspected, manifest: Manifest) -> str:
    """Say in a sentence what the verdict rests on."""
    if frame.p_value is None or frame.task is None:
        likest = f"; {frame.nearest} comes nearest" if frame.nearest else ""
        taken = "taken out, but as if it were another product" if frame.defect else "refused"
        return f"{taken}: it resembles none of the learned ones enough{likest}"
    held_out = manifest.tasks[frame.task].calibration.scores
    as_high = round(frame.p_value * (len(held_out) + 1)) - 1
    other = f"taken for {frame.task}; " if frame.task != frame.product else ""
    return (
        f"{other}{as_high} of the {len(held_out)} good windows that set the threshold scored as "
        f"high (p\u00a0=\u00a0{frame.p_value:.3f})"
    )
