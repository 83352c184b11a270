"""Logical defects: another set of ordinary items. Nothing is damaged."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from cad_edge_studies.procedural_assembly.layout import COLOURS, LANES, Item, Seat, place

Items = tuple[Item, ...]
_Drawn = TypeVar("_Drawn")

_UNIQUE = ("cap", "label", "spring")  # kinds whose lack is `missing`, not `wrong_count`

_SPARE: Mapping[str, Seat] = {
    "washer": Seat("washers", 22, -35),
    "nut": Seat("nuts", 26, -12.5),
}
"""Room for one item too many of the kinds that are counted; screws have their free lane."""

_ROOM: tuple[tuple[str, Seat], ...] = (
    ("nut", _SPARE["washer"]),
    *((kind, Seat("springs", -28, 23)) for kind in ("nut", "washer")),
    *((kind, Seat("cap", 3, 35.6)) for kind in ("nut", "washer")),
    *((kind, Seat("label", 31, 35.6)) for kind in ("nut", "washer")),
)
"""Room for an item in a bay of another kind; a spring fits into the free lane of the screws."""

_SWAPS = (("washer", "nut"), ("screw", "spring"), ("cap", "label"))


def _one_of(options: tuple[_Drawn, ...], rng: np.random.Generator) -> _Drawn:
    return options[int(rng.integers(len(options)))]


def _of(items: Items, kind: str) -> Items:
    return tuple(item for item in items if item.kind == kind)


def _without(items: Items, gone: Item) -> Items:
    return tuple(item for item in items if item is not gone)


def _free_lane(items: Items) -> Seat:
    (free,) = set(LANES) - {item.seat for item in items}
    return free


def _missing(items: Items, rng: np.random.Generator) -> Items:
    return _without(items, _one_of(_of(items, _one_of(_UNIQUE, rng)), rng))


def _extra(items: Items, rng: np.random.Generator) -> Items:
    kind, seat = _one_of((*_ROOM, ("spring", _free_lane(items))), rng)
    return (*items, place(kind, seat, rng))


def _swapped(items: Items, rng: np.random.Generator) -> Items:
    one, other = (_one_of(_of(items, kind), rng) for kind in _one_of(_SWAPS, rng))
    moved = [
        place(item.kind, to.seat, rng, item.colour)._replace(seed=item.seed)
        for item, to in ((one, other), (other, one))
    ]
    return (*_without(_without(items, one), other), *moved)


def _wrong_count(items: Items, rng: np.random.Generator) -> Items:
    kind = _one_of(("screw", "washer", "nut"), rng)
    if rng.random() < 0.5:
        return _without(items, _one_of(_of(items, kind), rng))
    seat = _free_lane(items) if kind == "screw" else _SPARE[kind]
    return (*items, place(kind, seat, rng))


def _wrong_pairing(items: Items, rng: np.random.Generator) -> Items:
    """Take the label of another kit: what colour it must have, the cap says."""
    (label,) = _of(items, "label")
    others = tuple(colour for colour in COLOURS if colour != label.colour)
    return (*_without(items, label), label._replace(colour=_one_of(others, rng)))


RULE_BREAKS: Mapping[str, Callable[[Items, np.random.Generator], Items]] = {
    "extra": _extra,
    "missing": _missing,
    "swapped": _swapped,
    "wrong_count": _wrong_count,
    "wrong_pairing": _wrong_pairing,
}
"""What takes the items of a good tray to those of a defective one, by name, alphabetically."""
