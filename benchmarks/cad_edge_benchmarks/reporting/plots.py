"""Plots as SVG, by matplotlib: those of several reports, and the frame of all others.

A plot stands within a page, whose colours it takes, light or dark, or alone in a file. Text stays
text. Equal plots are equal bytes.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEXT, SOFT, RULE, CARD = "#1c1d21", "#5b5f69", "#d9d7d1", "#ffffff"
ACCENT, GOOD, BAD = "#1f5fbf", "#1b7f4b", "#b3261e"
SERIES = (ACCENT, "#b3621e", GOOD, "#7d3fa8", "#6b6f78")
"""Colours of curves and bars, one after another."""

_VARIABLES = {
    TEXT: "--text",
    SOFT: "--soft",
    RULE: "--rule",
    CARD: "--card",
    BAD: "--bad",
    **{colour: f"--series-{number}" for number, colour in enumerate(SERIES)},
}
"""Variables of the style sheet that colours within a page become."""

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cad-edge",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 4,
}
_POINTS = 72  # of an inch, matplotlib's unit of length
_MISSING = '<p class="none">No plot: it needs matplotlib (pip install "cad-edge[reports]").</p>'


def plot(draw: Callable[["Axes"], None], size: tuple[float, float], description: str) -> str:
    """Draw one pair of axes as an ``<svg>`` that takes the colours of its page.

    Parameters
    ----------
    draw
        Draws on the axes.
    size
        Width and height in pixels of a page that shows it unscaled.
    description
        What a reader hears who cannot see it.

    Returns
    -------
    str
        The element; a sentence where matplotlib is not installed, as on a device.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return _MISSING
    with rc_context(_STYLE):
        figure = Figure((size[0] / _POINTS, size[1] / _POINTS), layout="constrained")
        figure.set_facecolor("none")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return _element(buffer.getvalue(), size, description)


def standalone(element: str) -> str:
    """Turn what `plot` gave into a file of its own: dark on white, whatever shows it."""
    for colour, variable in _VARIABLES.items():
        element = element.replace(f"var({variable})", colour)
    return element.replace(' style="', f' style="background: {CARD}; ', 1)


def _element(document: str, size: tuple[float, float], description: str) -> str:
    """Cut the element out of an SVG document; names of its groups are dropped, which repeat."""
    drawn = document[document.index("<svg") :].partition(">")[2]
    drawn = re.sub(r' id="[a-z0-9]+_\d+"', "", drawn)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        drawn = drawn.replace(colour, f"var({variable})")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'class="plot" style="max-width: {size[0]:g}px" viewBox="0 0 {size[0]:g} {size[1]:g}" '
        f'role="img" aria-label="{escape(description)}">{drawn}'
    )


@dataclass(frozen=True)
class Curve:
    """A name and its points (x, y), finite, x rising."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class PlotAxis:
    """The horizontal axis of curves, from its first tick to its last."""

    label: str
    ticks: Sequence[float]
    is_logarithmic: bool = False


def line_plot(curves: Sequence[Curve], axis: PlotAxis, label: str, description: str) -> str:
    """Draw curves over ``axis``; the vertical axis begins at 0 and carries ``label``."""

    def draw(axes: "Axes") -> None:
        for curve, colour in zip(curves, _colours(len(curves)), strict=True):
            x, y = zip(*curve.points, strict=True)
            axes.plot(x, y, marker="o", color=colour, label=curve.name)
        axes.set_xscale("log" if axis.is_logarithmic else "linear")
        axes.set_xticks(axis.ticks, [f"{tick:g}" for tick in axis.ticks])
        axes.set_xticks([], minor=True)
        axes.set_ylim(bottom=0)
        axes.set(xlabel=axis.label, ylabel=label)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)

    return plot(draw, (460, 310 + 10 * len(curves)), description)


def stacked_bars(
    rows: Mapping[str, Mapping[str, float]], parts: Sequence[str], unit: str, description: str
) -> str:
    """Draw one bar per row out of some of ``parts``, with their sum as a number beside it."""
    used = [part for part in parts if any(part in row for row in rows.values())]
    colours = dict(zip(parts, _colours(len(parts)), strict=True))

    def draw(axes: "Axes") -> None:
        ends = [0.0] * len(rows)
        for part in used:
            widths = [row.get(part, 0.0) for row in rows.values()]
            axes.barh(list(rows), widths, 0.7, ends, color=colours[part], label=part)
            ends = [end + width for end, width in zip(ends, widths, strict=True)]
        for place, end in enumerate(ends):
            axes.text(end, place, f"  {end:.3g} {unit}", va="center", fontweight="bold")
        axes.set_xlim(0, 1.25 * max(ends, default=1.0) or 1.0)
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        if len(used) > 1:
            axes.legend(loc="upper center", bbox_to_anchor=(0.4, 0), ncols=3)

    return plot(draw, (520, 30 * len(rows) + (50 if len(used) > 1 else 14)), description)


def _colours(count: int) -> list[str]:
    return [SERIES[number % len(SERIES)] for number in range(count)]
