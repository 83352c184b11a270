"""Brightness of the good parts in the order of their files, as one small drawing."""

from collections.abc import Sequence

_LEFT, _TOP, _WIDTH, _HEIGHT = 46, 10, 560, 120  # pixels: margins, and the field of the dots
_NARROWEST = 16.0  # grey levels; less would make noise look like a drift


def brightness_plot(levels: Sequence[float], drifts: bool) -> str:
    """Draw one dot for each image.

    Parameters
    ----------
    levels
        Mean grey level of every image, in the order of their names.
    drifts
        Whether a drift was found; dots are then drawn as such.
    """
    if len(levels) < 2:
        return ""
    middle = (min(levels) + max(levels)) / 2
    half = max(max(levels) - min(levels), _NARROWEST) / 2 * 1.1
    low, high = middle - half, middle + half

    def height(level: float) -> float:
        return _TOP + _HEIGHT * (high - level) / (high - low)

    step = _WIDTH / (len(levels) - 1)
    style = "defective" if drifts else "good"
    dots = "".join(
        f'<circle class="{style}" cx="{_LEFT + step * number:.1f}" cy="{height(level):.1f}" r="3"/>'
        for number, level in enumerate(levels)
    )
    lines = "".join(
        f'<line class="grid" x1="{_LEFT}" y1="{height(level):.1f}" x2="{_LEFT + _WIDTH}" '
        f'y2="{height(level):.1f}"/><text x="{_LEFT - 8}" y="{height(level) + 4:.1f}" '
        f'text-anchor="end">{level}</text>'
        for level in _ticks(low, high)
    )
    bottom = _TOP + _HEIGHT + 18
    return (
        f'<svg class="plot brightness" viewBox="0 0 {_LEFT + _WIDTH + 12} {bottom + 6}" role="img" '
        f'aria-label="mean brightness of {len(levels)} images in the order of their files">{lines}'
        f'{dots}<text x="{_LEFT}" y="{bottom}">first file</text><text x="{_LEFT + _WIDTH}" '
        f'y="{bottom}" text-anchor="end">last file</text></svg>'
    )


def _ticks(low: float, high: float) -> list[int]:
    """Round grey levels inside the field, three to six of them."""
    step = next(size for size in (2, 5, 10, 20, 50, 100) if (high - low) / size <= 6)
    first = int(-(-low // step)) * step
    return list(range(first, int(high) + 1, step))
