"""Accuracy against milliseconds: every setting, the front with names, the budget."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cad_edge_benchmarks.advise.schema import Advice, MeasuredSetting
from cad_edge_benchmarks.reporting.plots import ACCENT, BAD, RULE, SERIES, SOFT, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_TICKS = (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8)  # of a power of ten
_SPARE = 1.12  # factor of time that is left free beside the settings
_FAR = 1.3  # a budget further away than this factor would press the settings into a corner
_GAP, _LINE = 7, 13  # points between a setting and its name, and between two names

Places = NDArray[np.float64]
"""(n, 2) float64 of x and y."""


def accuracy_plot(advice: Advice) -> str:
    """Draw every setting, the front as a line with names, the budget and the setting to take."""
    front = sorted((one for one in advice.settings if one.on_front), key=lambda one: one.p90)

    def draw(axes: "Axes") -> None:
        _limit(axes, advice)
        _settings(axes, advice, front)
        axes.set(xlabel="milliseconds of a frame, 90th percentile", ylabel="image AUROC")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2)
        _budget(axes, advice)
        named = [*front, *(one for one in advice.settings[:1] if not one.on_front)]
        named.sort(key=lambda one: one.name != advice.taken)
        _names(axes, named, _obstacles(advice, front, axes.get_xlim()[1]), advice.taken)

    return plot(draw, (880, 500), "image AUROC against milliseconds")


def _place(one: MeasuredSetting) -> tuple[float, float]:
    return one.p90, one.accuracy.image_auroc


def _limit(axes: "Axes", advice: Advice) -> None:
    times = [one.p90 for one in advice.settings]
    if (limit := advice.limits.get("ms")) is not None:
        times.append(_shown(limit, times))
    found = [one.accuracy.image_auroc for one in advice.settings]
    margin = max(0.1 * (max(found) - min(found)), 0.004)
    axes.set_xscale("log")
    low, high = min(times) / _SPARE, max(times) * _SPARE
    axes.set_xlim(low, high)
    # Names of the fastest settings stand below their points, where the front does not run.
    bottom, top = min(found) - 2.5 * margin, min(max(found) + margin, 1 + margin / 2)
    levels = axes.yaxis.get_major_locator().tick_values(bottom, top)
    axes.set_yticks([level for level in levels if bottom <= level <= 1])
    axes.set_ylim(bottom, top)
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high))
    ticks = [at for at in np.multiply.outer(powers, _TICKS).flat if low <= at <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _shown(limit: float, times: Sequence[float]) -> float:
    return min(max(limit, min(times) / _FAR), max(times) * _FAR)


def _settings(axes: "Axes", advice: Advice, front: Sequence[MeasuredSetting]) -> None:
    corners = _corners(front, axes.get_xlim()[1])
    axes.plot(*corners.T, color=ACCENT, alpha=0.55)
    x, y = zip(*map(_place, front), strict=True)
    errors = [one.to_best_error for one in front]
    words = "standard error of the difference to the best"
    axes.errorbar(x, y, errors, fmt="none", ecolor=RULE, elinewidth=3, zorder=1, label=words)
    axes.plot(x, y, "o", color=ACCENT, markersize=8, label="on the front")
    if rest := [_place(one) for one in advice.settings if not one.on_front]:
        (hollow,) = axes.plot(*zip(*rest, strict=True), "o", color=SOFT, markersize=8)
        hollow.set(markerfacecolor="none", label="another is as good and as fast")
    if advice.taken is not None:
        place = [[at] for at in _place(advice.setting(advice.taken))]
        (ring,) = axes.plot(*place, "o", color=SERIES[1], markersize=17, label="to take")
        ring.set(markerfacecolor="none", markeredgewidth=2.5)


def _corners(front: Sequence[MeasuredSetting], right: float) -> Places:
    """Corners of the line along the front: no setting lies above and to the left of it."""
    corners = [_place(front[0])]
    for one in front[1:]:
        x, y = _place(one)
        corners += [(x, corners[-1][1]), (x, y)]
    return np.array([*corners, (right, corners[-1][1])])


def _budget(axes: "Axes", advice: Advice) -> None:
    if (limit := advice.limits.get("ms")) is None:
        return
    shown = _shown(limit, [one.p90 for one in advice.settings])
    arrow = "" if shown == limit else " →" if shown < limit else " ←"
    axes.axvline(shown, color=BAD, linestyle="--", linewidth=1.5)
    axes.annotate(
        f"budget {limit:g} ms{arrow}",
        (shown, 0),
        (-5, 8),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        color=BAD,
        rotation=90,
        ha="right",
    )


def _obstacles(advice: Advice, front: Sequence[MeasuredSetting], right: float) -> Places:
    """Places that no name may cover: settings, and many places along the front."""
    pieces = [np.linspace(one, other, 60) for one, other in pairwise(_corners(front, right))]
    return np.concatenate([[_place(one) for one in advice.settings], *pieces])


def _names(
    axes: "Axes", named: Sequence[MeasuredSetting], obstacles: Places, taken: str | None
) -> None:
    """Write names beside their settings, each at the nearest place that is free."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # from now on places in pixels are known
    kept_free = axes.transData.transform(obstacles)
    placed: list[Bbox] = []
    for one in named:
        text = axes.annotate(one.name, _place(one), textcoords="offset points", xytext=(0, 0))
        text.set_fontweight("bold" if one.name == taken else "normal")
        for x, y, side in _offsets():
            text.set(ha=side, position=(x, y))
            box = text.get_window_extent().padded(2)
            overlaps = box.count_overlaps(placed) or box.count_contains(kept_free)
            if not overlaps and axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1):
                break
        else:
            text.set(ha="left", position=(_GAP, _GAP))
        placed.append(text.get_window_extent())


def _offsets() -> Iterator[tuple[float, float, str]]:
    for step in range(12):
        for y in (_GAP + step * _LINE, -_GAP - (step + 0.7) * _LINE):
            yield -_GAP, y, "right"
            yield _GAP, y, "left"
