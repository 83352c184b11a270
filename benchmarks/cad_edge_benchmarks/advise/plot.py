"""Accuracy against milliseconds as one SVG, which stands in the page and alone."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cad_edge_benchmarks.advise.labels import place
from cad_edge_benchmarks.advise.schema import Advice, Measured
from cad_edge_benchmarks.reporting.html_page import style_sheet

_LEFT, _TOP, _WIDTH, _HEIGHT = 76, 18, 780, 380  # pixels: margins, inside
_SIZE = (_LEFT + _WIDTH + 20, _TOP + _HEIGHT + 74)
_TIMES = (1, 1.5, 2, 3, 4, 5, 6, 8)  # ticks of a power of ten
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_PLACE_TO_SPARE = 1.12
_FAR = 1.3
_APART = 10  # pixels

Place = tuple[float, float]
"""x and y in pixels."""


@dataclass(frozen=True)
class _Scale:
    """From milliseconds and AUROC to pixels."""

    fastest: float
    slowest: float
    low: float
    high: float

    def x(self, milliseconds: float) -> float:
        reach = math.log(self.slowest / self.fastest)
        return _LEFT + _WIDTH * math.log(milliseconds / self.fastest) / reach

    def y(self, auroc: float) -> float:
        return _TOP + _HEIGHT * (self.high - auroc) / (self.high - self.low)


def accuracy_plot(advice: Advice) -> str:
    """Draw every setting, the front as a line with names, the budget and the setting to take."""
    scale = _scale(advice)
    best = sorted((one for one in advice.settings if one.on_front), key=lambda one: one.p90)
    corners = _corners(best, scale)
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    drawn = _grid(scale) + _budget(advice, scale) + "".join(_bar(one, scale) for one in best)
    drawn += f'<polyline class="front" points="{places}"/>'
    others_first = sorted(advice.settings, key=lambda one: one.on_front)
    drawn += "".join(_point(one, advice, scale) for one in others_first)
    drawn += _names(advice, best, scale, corners) + _words()
    style = style_sheet("plot.css", package=__package__)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="advice-plot" '
        f'viewBox="0 0 {_SIZE[0]} {_SIZE[1]}" role="img" '
        f'aria-label="image AUROC against milliseconds"><style>{style}</style>'
        f'<rect class="back" width="{_SIZE[0]}" height="{_SIZE[1]}"/>{drawn}</svg>\n'
    )


def _scale(advice: Advice) -> _Scale:
    times = [one.p90 for one in advice.settings]
    if limit := advice.limits.get("ms"):
        # A far budget would press the settings into a corner.
        times.append(min(max(limit, min(times) / _FAR), max(times) * _FAR))
    found = [one.accuracy.image_auroc for one in advice.settings]
    margin = max(0.08 * (max(found) - min(found)), 0.004)
    return _Scale(
        min(times) / _PLACE_TO_SPARE,
        max(times) * _PLACE_TO_SPARE,
        # Names of the fastest settings stand below their points, where the front does not run.
        min(found) - 2.5 * margin,
        min(max(found) + margin, 1 + margin / 2),
    )


def _grid(scale: _Scale) -> str:
    right, bottom = _LEFT + _WIDTH, _TOP + _HEIGHT
    across = "".join(
        f'<line class="grid" x1="{_LEFT}" y1="{scale.y(at):.1f}" x2="{right}" '
        f'y2="{scale.y(at):.1f}"/><text x="{_LEFT - 9}" y="{scale.y(at) + 4:.1f}" '
        f'text-anchor="end">{at:.3f}</text>'
        for at in _levels(scale)
    )
    return across + "".join(
        f'<line class="grid" x1="{scale.x(at):.1f}" y1="{_TOP}" x2="{scale.x(at):.1f}" '
        f'y2="{bottom}"/><text x="{scale.x(at):.1f}" y="{bottom + 19}" '
        f'text-anchor="middle">{at:g}</text>'
        for at in _ticks(scale)
    )


def _levels(scale: _Scale) -> list[float]:
    span = scale.high - scale.low
    step = next((one for one in _STEPS if span / one <= 8), _STEPS[-1])
    first, last = math.ceil(scale.low / step), math.floor(min(scale.high, 1.0) / step)
    return [round(at * step, 6) for at in range(first, last + 1)]


def _ticks(scale: _Scale) -> list[float]:
    powers = range(math.floor(math.log10(scale.fastest)), math.ceil(math.log10(scale.slowest)) + 1)
    all_ticks = [part * 10.0**power for power in powers for part in _TIMES]
    return [at for at in all_ticks if scale.fastest <= at <= scale.slowest]


def _budget(advice: Advice, scale: _Scale) -> str:
    limit = advice.limits.get("ms")
    if limit is None:
        return ""
    shown = min(max(limit, scale.fastest), scale.slowest)
    arrow = "" if shown == limit else " ←" if shown > limit else " →"
    at, bottom = scale.x(shown), _TOP + _HEIGHT
    side, anchor = (6, "start") if at < _LEFT + _WIDTH / 2 else (-6, "end")
    return (
        f'<line class="budget" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{bottom}"/>'
        f'<text class="budget-name" x="{at + side:.1f}" y="{bottom - 8}" text-anchor="{anchor}">'
        f"budget {limit:g} ms{arrow}</text>"
    )


def _corners(best: Sequence[Measured], scale: _Scale) -> list[Place]:
    """Corners of the line along the front: no setting lies above and to the left of it."""
    corners: list[Place] = []
    for one in best:
        x, y = scale.x(one.p90), scale.y(one.accuracy.image_auroc)
        corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
    return [*corners, (_LEFT + _WIDTH, corners[-1][1])]


def _point(one: Measured, advice: Advice, scale: _Scale) -> str:
    x, y = scale.x(one.p90), scale.y(one.accuracy.image_auroc)
    style = "best" if one.on_front else "dominated"
    ring = ""
    if one.name == advice.taken:
        ring = f'<circle class="taken" cx="{x:.1f}" cy="{y:.1f}" r="10"/>'
    told = f"{one.name}: {one.accuracy.image_auroc:.3f}, {one.p90:.1f} ms"
    return (
        f'{ring}<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
        f"<title>{html.escape(told)}</title></circle>"
    )


def _bar(one: Measured, scale: _Scale) -> str:
    """Draw the standard error of the difference to the best setting."""
    x, auroc = scale.x(one.p90), one.accuracy.image_auroc
    ends = (auroc - one.to_best_error, auroc + one.to_best_error)
    low, high = (scale.y(min(max(end, scale.low), scale.high)) for end in ends)
    return f'<line class="bar" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>'


def _names(
    advice: Advice, best: Sequence[Measured], scale: _Scale, corners: Sequence[Place]
) -> str:
    """Names of the front and of the default, the setting to take first."""
    shown = [*best, *(one for one in advice.settings[:1] if not one.on_front)]
    shown.sort(key=lambda one: one.name != advice.taken)
    points = [(scale.x(one.p90), scale.y(one.accuracy.image_auroc)) for one in advice.settings]
    points += _along(corners)
    named = [(scale.x(one.p90), scale.y(one.accuracy.image_auroc), one.name) for one in shown]
    drawn = ""
    frame = (_LEFT, 0, _LEFT + _WIDTH, _TOP + _HEIGHT)
    for one, label in zip(shown, place(named, points, frame), strict=True):
        style = "name take" if one.name == advice.taken else "name"
        drawn += (
            f'<text class="{style}" x="{label.x:.1f}" y="{label.y:.1f}">'
            f"{html.escape(label.text)}</text>"
        )
    return drawn


def _along(corners: Sequence[Place]) -> list[Place]:
    """Places along a line, close enough that a name on the line covers one."""
    found: list[Place] = []
    for (x, y), (to_x, to_y) in pairwise(corners):
        count = int((abs(to_x - x) + abs(to_y - y)) / _APART) + 1
        found += [(x + (to_x - x) * n / count, y + (to_y - y) * n / count) for n in range(count)]
    return found


def _words() -> str:
    middle, bottom = _TOP + _HEIGHT / 2, _TOP + _HEIGHT
    legend = bottom + 62
    return (
        f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 40}" text-anchor="middle">'
        "milliseconds of a frame, 90th percentile (logarithmic)</text>"
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
        "image AUROC</text>"
        f'<circle class="best" cx="{_LEFT + 8}" cy="{legend - 4}" r="5"/>'
        f'<text x="{_LEFT + 20}" y="{legend}">on the front</text>'
        f'<circle class="dominated" cx="{_LEFT + 118}" cy="{legend - 4}" r="5"/>'
        f'<text x="{_LEFT + 130}" y="{legend}">another setting is as good and as fast</text>'
        f'<circle class="taken" cx="{_LEFT + 398}" cy="{legend - 4}" r="8"/>'
        f'<text x="{_LEFT + 414}" y="{legend}">to take</text>'
        f'<line class="bar" x1="{_LEFT + 482}" y1="{legend - 12}" x2="{_LEFT + 482}" '
        f'y2="{legend + 4}"/>'
        f'<text x="{_LEFT + 492}" y="{legend}">standard error of the difference to the best</text>'
    )
