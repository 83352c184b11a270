"""Accuracy against milliseconds in a terminal's characters."""

import math

from cad_edge_benchmarks.advise.schema import Advice

WIDTH, HEIGHT = 60, 12  # characters inside of the axes
_LEGEND = "* to take   o on the front   . dominated   (milliseconds grow by equal factors)"


def text_plot(advice: Advice) -> str:
    """Draw every setting as one character; of several in one place the better one shows."""
    times = [one.p90 for one in advice.settings]
    found = [one.accuracy.image_auroc for one in advice.settings]
    canvas = [[" "] * WIDTH for _ in range(HEIGHT)]
    for one in sorted(advice.settings, key=lambda one: (one.name == advice.taken, one.on_front)):
        mark = "*" if one.name == advice.taken else "o" if one.on_front else "."
        across = _share(math.log(one.p90), math.log(min(times)), math.log(max(times)))
        up = _share(one.accuracy.image_auroc, min(found), max(found))
        canvas[round((HEIGHT - 1) * (1 - up))][round((WIDTH - 1) * across)] = mark
    lines = [f"{' ' * 7}|{''.join(line).rstrip()}" for line in canvas]
    lines[0] = f"{max(found):.3f}  |{''.join(canvas[0]).rstrip()}"
    lines[-1] = f"{min(found):.3f}  |{''.join(canvas[-1]).rstrip()}"
    left, right = f"{min(times):.1f} ms", f"{max(times):.1f} ms"
    ticks = f"{' ' * 8}{left}{right.rjust(WIDTH - len(left))}"
    return "\n".join(["image AUROC", *lines, f"{' ' * 7}+{'-' * WIDTH}", ticks, _LEGEND])


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5
