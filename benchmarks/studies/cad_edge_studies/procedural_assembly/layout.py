"""What lies where on a good tray: bays, seats, and how loosely an item lies in its seat.

Millimetres from the centre of the tray, x to the right, y down.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.50, 0.016, 0.02),
    "blue": (0.012, 0.075, 0.40),
    "green": (0.012, 0.21, 0.06),
}
"""Linear albedo of caps and of the bands of labels, by name."""


class Bay(NamedTuple):
    """A compartment of the tray."""

    left: float
    top: float
    right: float
    bottom: float


BAYS: Mapping[str, Bay] = {
    "screws": Bay(-43, -43, -3, -1),
    "washers": Bay(1, -43, 43, -27),
    "nuts": Bay(1, -23, 43, -1),
    "springs": Bay(-43, 3, -13, 43),
    "cap": Bay(-9, 3, 15, 43),
    "label": Bay(19, 3, 43, 43),
}


class Seat(NamedTuple):
    """Where an item may lie."""

    bay: str
    x: float
    y: float


class Item(NamedTuple):
    """One item on the tray."""

    kind: str
    seat: Seat
    x: float
    y: float
    turn: float
    """Radians; 0 is upright."""
    seed: int
    """Of its texture."""
    colour: str | None = None
    """One of `COLOURS`, for caps and labels."""


LANES = tuple(Seat("screws", x, -22.0) for x in (-37.9, -30.45, -23.0, -15.55, -8.1))
"""Four of them hold a screw; which one is free is drawn."""

SEATS: Mapping[str, tuple[Seat, ...]] = {
    "washer": (Seat("washers", 8.2, -35), Seat("washers", 35.8, -35)),
    "nut": (
        Seat("nuts", 8.2, -15.6),
        Seat("nuts", 16.5, -8.2),
        Seat("nuts", 35.8, -15.6),
    ),
    "spring": (Seat("springs", -37.5, 23), Seat("springs", -18.5, 23)),
    "cap": (Seat("cap", 3, 17),),
    "label": (Seat("label", 31, 17),),
}
"""All hold an item on every good tray."""

_LOOSE: Mapping[str, tuple[float, float]] = {
    "screw": (0.25, 2.0),
    "washer": (0.8, 180.0),
    "nut": (0.7, 180.0),
    "spring": (0.5, 2.5),
    "cap": (0.6, 180.0),
    "label": (0.6, 2.5),
}
"""How far, mm, and how much, degrees, items lie beside their seats, by kind.

Little enough that no two touch and none climbs a wall, a good tray's or a defective one's."""

KINDS = tuple(_LOOSE)


def place(kind: str, seat: Seat, rng: np.random.Generator, colour: str | None = None) -> Item:
    """Lay an item of a kind into a seat, as loosely as its kind lies.

    Parameters
    ----------
    kind
        One of `KINDS`.
    seat
        Any seat that is free and large enough.
    rng
        Draws shift, turn and texture.
    colour
        One of `COLOURS`, for caps and labels.
    """
    shift, turn = _LOOSE[kind]
    dx, dy = rng.uniform(-shift, shift, 2)
    turned = float(np.deg2rad(rng.uniform(-turn, turn)))
    return Item(kind, seat, seat.x + dx, seat.y + dy, turned, int(rng.integers(2**31)), colour)


def good_layout(rng: np.random.Generator) -> tuple[Item, ...]:
    """Draw the items of a good tray.

    Examples
    --------
    >>> items = good_layout(np.random.default_rng(0))
    >>> sum(item.kind == "screw" for item in items)
    4
    """
    free = int(rng.integers(len(LANES)))
    colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
    screws = [place("screw", lane, rng) for lane in LANES[:free] + LANES[free + 1 :]]
    others = [
        place(kind, seat, rng, colour if kind in ("cap", "label") else None)
        for kind, seats in SEATS.items()
        for seat in seats
    ]
    return (*screws, *others)
