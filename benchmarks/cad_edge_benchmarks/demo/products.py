"""What the report shows of one product: its curve, its scores and example windows."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cad_edge.calibration import standardise
from cad_edge.data.image import Frame, decode_image
from cad_edge.data.mask import decode_mask
from cad_edge.heatmap import overlay
from cad_edge.store.manifest import Manifest
from cad_edge_benchmarks.demo.device import DemoInspection, Inspections, Maps
from cad_edge_benchmarks.demo.results import ProductResult
from cad_edge_benchmarks.instruments.verdicts import UNKNOWN
from cad_edge_benchmarks.reporting.document import Block, Figure, Markup
from cad_edge_benchmarks.reporting.pictures import (
    Box,
    box_around,
    colour_bar,
    framed,
    level_overlay,
    level_words,
    resized,
)
from cad_edge_benchmarks.reporting.plots import ACCENT, BAD, CARD, GOOD, SOFT, TEXT, plot
from cad_edge_benchmarks.reporting.tables import figure, percents
from cad_edge_runtime.commands import map_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_MISTAKES = 4  # of a product that are shown
ENLARGED = 224  # pixels that the longer side of a drawn frame gets

VERDICTS = {"normal": "good", "anomalous": "defect", UNKNOWN: "unknown product"}
"""What the report calls a verdict."""

LEGEND = Markup(
    '<p class="legend">Colours of the heat maps:</p><div class="scale">'
    f"{colour_bar()}<div><span>like good parts</span><span>a defect begins</span>"
    "<span>far above</span></div></div>"
    '<p class="legend"><span class="key truth"></span> dashed: where a defect was drawn '
    '<span class="key found"></span> solid: what the device marked. The examples are the '
    "windows with the middle score of their kind, not the finest. "
    "<strong>p</strong> is the share of good windows that would score as high: a small p "
    "means a defect.</p>"
)
"""How to read the cards."""


def product_blocks(
    product: ProductResult, inspections: Inspections, maps: Maps, manifest: Manifest
) -> tuple[Block, ...]:
    """Show counts, both plots, typical windows and those that were judged wrongly."""
    entry = manifest.tasks[product.name]
    threshold = standardise(entry.calibration.scores, entry.decision.threshold)
    refused = [
        one for one in product.defective if one.rejected and one.recognised_as != product.name
    ]
    mistaken = [one for one in product.frames if one.rejected != (one.defect is not None)]

    def shown(title: str, frames: list[DemoInspection], state: str) -> Markup:
        if not frames:
            return Markup(f'<p class="none">{title}: none.</p>')
        some = frames[:MOST_MISTAKES]
        more = f", {len(some)} of them shown" if len(some) < len(frames) else ""
        drawn = cards(some, inspections, maps, manifest).html
        summary = f"<summary>{title}: {len(frames)}{more}</summary>"
        return Markup(f"<details {state}>{summary}{drawn}</details>")

    return (
        _counts(product),
        _roc(product),
        _scores(product, threshold),
        cards(_examples(product), inspections, maps, manifest),
        shown("Judged wrongly", mistaken, "open"),
        shown("Defective, but refused as an unknown product", refused, ""),
    )


def _counts(product: ProductResult) -> str:
    found = product.evaluation
    kinds = ", ".join(f"{words(kind)} {count}" for kind, count in product.found_by_kind().items())
    interval, perfect = found.false_reject_interval, found.found_perfectly
    within = "" if interval is None else f" (95 % interval {percents(interval)})"
    could = f" A perfect threshold would find {perfect}." if perfect.total else ""
    return (
        f"{found.found} defects found ({kinds}); {found.false_rejects} good windows rejected"
        f"{within}.{could}"
    )


def words(kind: str) -> str:
    """Name of a kind of defect as a person writes it."""
    return kind.replace("_", " ")


def _roc(product: ProductResult) -> Figure:
    """Draw the ROC curve with the threshold in force."""
    found = product.evaluation
    area = figure(found.image_auroc)
    shares, labels = (0, 0.25, 0.5, 0.75, 1), ("0 %", "25 %", "50 %", "75 %", "100 %")

    def draw(axes: "Axes") -> None:
        x, y = zip(*product.roc(), strict=True)
        axes.fill_between(x, y, color=ACCENT, alpha=0.12, linewidth=0)
        axes.plot([0, 1], [0, 1], "--", color=SOFT, linewidth=1)
        axes.plot(x, y, color=ACCENT, linewidth=2.5)
        at = ([found.false_rejects.share or 0.0], [found.found.share or 0.0])
        (dot,) = axes.plot(*at, "o", color=ACCENT, markersize=11, clip_on=False, zorder=3)
        dot.set(markerfacecolor=CARD, markeredgewidth=2.5)
        axes.text(0.95, 0.1, f"area (AUROC) {area}", ha="right", fontweight="bold")
        axes.set(xlabel="good windows rejected", ylabel="defects found", aspect="equal")
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=shares, yticks=shares)
        axes.set(xticklabels=labels, yticklabels=("", *labels[1:]))

    return Figure(
        plot(draw, (360, 330), f"ROC curve, area under the curve {area}"),
        "ROC curve: what each possible threshold would find and reject. The area under it is 1.000 "
        "where good and defective never mix, and 0.5 for guessing (dashed). The dot is the "
        "threshold in force.",
    )


def _scores(product: ProductResult, threshold: float) -> Figure:
    """Draw the scores of all windows as rows of dots, with the threshold across them."""
    kinds = [None, *product.found_by_kind()]
    rows = [
        [
            one.calibrated_score
            for one in product.frames
            if (one.defect, one.task) == (kind, product.name) and one.calibrated_score is not None
        ]
        for kind in kinds
    ]
    low = min([threshold, *(score for row in rows for score in row)])

    def draw(axes: "Axes") -> None:
        for number, (kind, row) in enumerate(zip(kinds, rows, strict=True)):
            # The root keeps good windows apart where one defect scores tens of times more.
            x = np.sqrt(np.sort(row) - low)
            # Dots take three heights in turn, so that neighbours do not hide each other.
            y = number + 0.2 * (np.arange(len(row)) % 3 - 1)
            colour = GOOD if kind is None else BAD
            axes.plot(x, y, "o", color=colour, alpha=0.75, markersize=7, markeredgewidth=0)
        axes.axvline(np.sqrt(threshold - low), color=TEXT)
        names = ["good" if kind is None else words(kind) for kind in kinds]
        axes.set_yticks(range(len(kinds)), names)
        axes.set_ylim(len(kinds) - 0.5, -0.5)
        axes.set_xticks([np.sqrt(threshold - low)], ["threshold: rejected to the right"])

    pixels = product.evaluation.pixel_auroc
    localised = (
        " Counted pixel by pixel, the heat maps rank defective above good ones with an area "
        f"(AUROC) of {figure(pixels)}."
    )
    return Figure(
        plot(draw, (520, 250), "scores of good and defective windows and the threshold"),
        "Every test window, by its score (further right is more unlike good parts; distances are "
        f"compressed by their root).{'' if pixels is None else localised}",
    )


def typical(frames: Sequence[DemoInspection]) -> DemoInspection | None:
    """Frame with the middle score, so that nobody picked it; None of none."""
    judged = [frame for frame in frames if frame.calibrated_score is not None] or list(frames)
    ranked = sorted(judged, key=lambda frame: frame.calibrated_score or 0.0)
    return ranked[len(ranked) // 2] if ranked else None


def _examples(product: ProductResult) -> list[DemoInspection]:
    """Return a typical good window and a typical window of each kind of defect."""
    kinds = [None, *product.found_by_kind()]
    groups = [[one for one in product.frames if one.defect == kind] for kind in kinds]
    return [frame for frame in map(typical, groups) if frame is not None]


def cards(
    frames: Sequence[DemoInspection], inspections: Inspections, maps: Maps, manifest: Manifest
) -> Markup:
    """Draw ``frames``, which are some of ``inspections``."""
    numbers = {frame.path: number for number, frame in enumerate(inspections.frames)}
    drawn = [
        _card(frame, maps.anomaly.get(number), maps.level.get(number), manifest)
        for frame in frames
        for number in (numbers[frame.path],)
    ]
    return Markup(f'<div class="cards">{"".join(drawn)}</div>')


def _card(
    frame: DemoInspection,
    heat: NDArray[np.float32] | None,
    level_map: NDArray[np.float32] | None,
    manifest: Manifest,
) -> str:
    rgb = resized(decode_image(frame.path), ENLARGED)
    of_level = level_overlay(rgb, level_map) if frame.verdict == "anomalous" else None
    truth = [] if frame.mask is None else [bounding_box(frame.mask, frame.size)]
    left = framed(rgb, frame.size, truth, "truth", f"window of {frame.product}")
    if heat is not None and frame.task is not None:
        rgb = overlay(rgb, heat, *map_scale(manifest.tasks[frame.task]))
    right = framed(rgb, frame.size, frame.boxes, "found", "heat map and what was found")
    shown = "no heat map: refused" if heat is None else "heat map"
    third = "" if of_level is None else _level_picture(frame, of_level)
    mark, tone = _judgement(frame, manifest)
    return (
        f'<figure class="card"><div class="pair{" trio" if third else ""}">'
        f"<div>{left}<small>the window</small></div>"
        f"<div>{right}<small>{shown}</small></div>{third}</div><figcaption>"
        f"<strong>{html.escape(_truth(frame, manifest))}</strong> "
        f'<span class="verdict {tone}">{mark} verdict: {VERDICTS[frame.verdict]}</span><br>'
        f"{html.escape(_reason(frame, manifest))}</figcaption></figure>"
    )


def _level_picture(frame: DemoInspection, drawn: Frame) -> str:
    said = html.escape(level_words(frame.level, frame.level_share))
    picture = framed(drawn, frame.size, [], "found", f"map of the level {frame.level}")
    return f"<div>{picture}<small>rests on {said}</small></div>"


def _judgement(frame: DemoInspection, manifest: Manifest) -> tuple[str, str]:
    """Mark and style of a verdict; what was taken out as another product is half right."""
    never_learned = frame.product not in manifest.tasks
    if never_learned or frame.rejected != (frame.defect is not None):
        right = never_learned and frame.verdict == UNKNOWN
        return ("✓", "right") if right else ("✗", "wrong")
    return ("✓", "right") if frame.task == frame.product else ("~", "partly")


def bounding_box(mask: Path, size: tuple[int, int]) -> Box:
    """Box around everything in a mask of a frame of ``size`` (height, width)."""
    return box_around(decode_mask(mask, size))


def _truth(frame: DemoInspection, manifest: Manifest) -> str:
    if frame.product not in manifest.tasks:
        return f"{frame.product}, never learned"
    return "good" if frame.defect is None else words(frame.defect)


def _reason(frame: DemoInspection, manifest: Manifest) -> str:
    """Say in a sentence what the verdict rests on."""
    if frame.p_value is None or frame.task is None:
        nearest = f"; {frame.nearest} comes nearest" if frame.nearest else ""
        taken = "taken out, but as if it were another product" if frame.defect else "refused"
        return f"{taken}: it resembles none of the learned ones enough{nearest}"
    held_out = manifest.tasks[frame.task].calibration.scores
    as_high = round(frame.p_value * (len(held_out) + 1)) - 1
    other = f"taken for {frame.task}; " if frame.task != frame.product else ""
    return (
        f"{other}{as_high} of the {len(held_out)} good windows that set the threshold scored as "
        f"high (p\u00a0=\u00a0{frame.p_value:.3f})"
    )
