"""Plots as inline SVG: curves over an axis, stacked bars, and ratios with their intervals."""

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_LEFT, _TOP, _WIDTH, _HEIGHT = 58, 14, 400, 220  # pixels of a line plot: margins, inside
_ENTRY = 20  # pixels of a line of the legend
_NAMES, _BARS, _FIGURES, _ROW = 190, 290, 76, 32  # pixels of rows: name, bar, number, height
_LONG_NAMES = 270
_COLOURS = 5


@dataclass(frozen=True)
class Line:
    """One curve: a name and its points (x, y), finite, x rising."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """The horizontal axis of a line plot, from its first tick to its last."""

    label: str
    ticks: Sequence[float]
    is_logarithmic: bool = False

    def place(self, value: float) -> float:
        """Map a value onto pixels."""
        low, high, at = self.ticks[0], self.ticks[-1], value
        if self.is_logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return _LEFT + _WIDTH * ((at - low) / (high - low) if high > low else 0.5)


@dataclass(frozen=True)
class Interval:
    """A ratio with the interval that it may as well lie in."""

    name: str
    ratio: float
    low: float
    high: float
    style: str
    """``worse``, ``better`` or ``noise``."""


def line_plot(lines: Sequence[Line], axis: Axis, label: str, description: str) -> str:
    """Draw curves over ``axis``; the vertical axis begins at 0 and carries ``label``."""
    steps = round_steps(max((y for line in lines for _, y in line.points), default=1.0))
    bottom = _TOP + _HEIGHT

    def height(value: float) -> float:
        return bottom - _HEIGHT * value / steps[-1]

    drawn = "".join(_curve(line, at, axis, height) for at, line in enumerate(lines))
    middle = _TOP + _HEIGHT / 2
    words = (
        f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 36}" text-anchor="middle">'
        f"{html.escape(axis.label)}</text>"
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f"{html.escape(label)}</text>"
    )
    legend = _legend({at: line.name for at, line in enumerate(lines)}, bottom + 58)
    size = (_LEFT + _WIDTH + 24, bottom + 52 + _ENTRY * len(lines))
    return _svg(size, _grid(axis, steps, height) + drawn + words + legend, description)


def _grid(axis: Axis, steps: Sequence[float], height: Callable[[float], float]) -> str:
    right, bottom = _LEFT + _WIDTH, _TOP + _HEIGHT
    across = "".join(
        f'<line class="grid" x1="{_LEFT}" y1="{height(at):.1f}" x2="{right}" '
        f'y2="{height(at):.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{height(at) + 4:.1f}" text-anchor="end">{at:g}</text>'
        for at in steps
    )
    return across + "".join(
        f'<line class="grid" x1="{axis.place(at):.1f}" y1="{_TOP}" x2="{axis.place(at):.1f}" '
        f'y2="{bottom}"/><text x="{axis.place(at):.1f}" y="{bottom + 17}" '
        f'text-anchor="middle">{at:g}</text>'
        for at in axis.ticks
    )


def _curve(line: Line, at: int, axis: Axis, height: Callable[[float], float]) -> str:
    places = [f"{axis.place(x):.1f},{height(y):.1f}" for x, y in line.points]
    dots = "".join(
        f'<circle class="f{at % _COLOURS}" cx="{place.partition(",")[0]}" '
        f'cy="{place.partition(",")[2]}" r="3"/>'
        for place in places
    )
    return f'<polyline class="series c{at % _COLOURS}" points="{" ".join(places)}"/>{dots}'


def round_steps(top: float) -> list[float]:
    """Four to eight round steps from 0 to at least ``top``."""
    top = max(top, 1e-9)
    unit = 10.0 ** math.floor(math.log10(top))
    step = next(unit * part for part in (0.2, 0.25, 0.5, 1, 2) if top / (unit * part) <= 7)
    return [round(at * step, 12) for at in range(math.ceil(top / step - 1e-9) + 1)]


def _legend(names: Mapping[int, str], top: float) -> str:
    """Name colours by their number, one line each."""
    return "".join(
        f'<rect class="f{colour % _COLOURS}" x="{_LEFT}" y="{top + at * _ENTRY - 10}" width="12" '
        f'height="12"/><text x="{_LEFT + 20}" y="{top + at * _ENTRY}">{html.escape(name)}</text>'
        for at, (colour, name) in enumerate(names.items())
    )


def stacked_bars(
    rows: Mapping[str, Mapping[str, float]], parts: Sequence[str], unit: str, description: str
) -> str:
    """Draw one bar per row out of some of ``parts``, with their sum as a number beside it."""
    longest = max((sum(row.values()) for row in rows.values()), default=1.0) or 1.0
    drawn = ""
    for at, (name, row) in enumerate(rows.items()):
        left, top = float(_NAMES), at * _ROW + 4
        drawn += (
            f'<text x="{_NAMES - 10}" y="{top + 17}" text-anchor="end">{html.escape(name)}</text>'
        )
        for part, value in row.items():
            width = _BARS * value / longest
            drawn += (
                f'<rect class="f{parts.index(part) % _COLOURS}" x="{left:.1f}" y="{top}" '
                f'width="{max(width, 0.5):.1f}" height="{_ROW - 9}"/>'
            )
            left += width
        total = f"{sum(row.values()):.3g} {unit}"
        drawn += (
            f'<text class="value" x="{left + 8:.1f}" y="{top + 17}">{html.escape(total)}</text>'
        )
    bottom = len(rows) * _ROW + 22
    used = {at: part for at, part in enumerate(parts) if any(part in row for row in rows.values())}
    entries = len(used) if len(used) > 1 else 0
    legend = _legend(used, bottom) if entries else ""
    size = (_NAMES + _BARS + _FIGURES, bottom + (_ENTRY * entries or -14))
    return _svg(size, drawn + legend, description)


def interval_rows(rows: Sequence[Interval], description: str) -> str:
    """Draw ratios on a logarithmic axis around 1, each with its interval."""
    reach = max([1.25, *(max(row.high, 1 / row.low) for row in rows if row.low > 0)])

    def place(ratio: float) -> float:
        share = math.log(max(ratio, 1 / reach)) / math.log(reach)
        return _LONG_NAMES + _BARS * (1 + share) / 2

    bottom = len(rows) * _ROW + 6
    drawn = f'<line class="unity" x1="{place(1)}" y1="0" x2="{place(1)}" y2="{bottom}"/>'
    for at, row in enumerate(rows):
        middle = at * _ROW + _ROW / 2
        drawn += (
            f'<text x="{_LONG_NAMES - 10}" y="{middle + 4}" text-anchor="end">'
            f"{html.escape(row.name)}</text>"
            f'<line class="span {row.style}" x1="{place(row.low):.1f}" y1="{middle}" '
            f'x2="{place(row.high):.1f}" y2="{middle}"/>'
            f'<circle class="{row.style}" cx="{place(row.ratio):.1f}" cy="{middle}" r="5"/>'
            f'<text class="value" x="{_LONG_NAMES + _BARS + 12}" y="{middle + 4}">'
            f"{row.ratio:.3f}</text>"
        )
    drawn += "".join(
        f'<text x="{place(at):.1f}" y="{bottom + 16}" text-anchor="middle">{at:.2f}</text>'
        for at in (1 / reach, 1.0, reach)
    )
    return _svg((_LONG_NAMES + _BARS + _FIGURES, bottom + 24), drawn, description, "plot wide")


def _svg(size: tuple[float, float], drawn: str, description: str, style: str = "plot") -> str:
    return (
        f'<svg class="{style}" viewBox="0 0 {size[0]:g} {size[1]:g}" role="img" '
        f'aria-label="{html.escape(description)}">{drawn}</svg>'
    )
