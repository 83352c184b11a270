"""Places for the names of points, so that they hide neither each other nor a point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_GAP = 12  # pixels between a point and its name
_LINE = 15  # pixels of height of a name
_LETTER = 7.2  # pixels of width of a letter, on average


@dataclass(frozen=True)
class Label:
    """Where a name stands: x of its start, y of its baseline."""

    x: float
    y: float
    text: str

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        return (self.x, self.y - _LINE + 3, self.x + width_of(self.text), self.y + 4)


def width_of(text: str) -> float:
    """Estimate the width of ``text`` in pixels."""
    return len(text) * _LETTER


def place(
    named: Sequence[tuple[float, float, str]],
    points: Sequence[tuple[float, float]],
    frame: tuple[float, float, float, float],
) -> list[Label]:
    """Find a place for each name, nearest places first.

    Parameters
    ----------
    named
        (x, y, name) of each point that has a name, most important first.
    points
        (x, y) of all points, which no name may cover.
    frame
        Left, top, right and bottom, beyond which no name reaches, so that the numbers beside and
        below the plot stay readable.
    """
    placed: list[Label] = []
    for x, y, text in named:
        tried = list(_places(x, y, text))
        free = (
            one
            for one in tried
            if _within(one.box, frame)
            and not any(_overlap(one.box, other.box) for other in placed)
            and not any(_covers(one.box, point) for point in points)
        )
        placed.append(next(free, tried[0]))
    return placed


def _places(x: float, y: float, text: str) -> Iterator[Label]:
    for step in range(12):
        for below in (-_GAP - step * _LINE, _GAP + (step + 0.7) * _LINE):
            yield Label(x + _GAP, y + below, text)
            yield Label(x - _GAP - width_of(text), y + below, text)


def _within(box: tuple[float, ...], frame: tuple[float, ...]) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _covers(box: tuple[float, ...], point: tuple[float, float]) -> bool:
    return box[0] - 4 < point[0] < box[2] + 4 and box[1] - 4 < point[1] < box[3] + 4
