"""Levels: on which level of evidence a score rests, of engines that say it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from cad_edge_runtime.session import Array


@dataclass(frozen=True, eq=False)
class Levels:
    """What an engine says of one frame, by the names of its levels and in their order."""

    added: Mapping[str, float]
    """What each level adds to the score, in units of held-out good parts; may be NaN."""

    maps: Mapping[str, Array] | None
    """(h, w) float32 of each level; None where the engine gives none."""


def strongest(added: Mapping[str, float]) -> tuple[str, float] | None:
    """Name the level that adds most, with its share of all that levels add.

    Levels that take away, and what is no finite number, have no share. Of equal levels the first
    is named.

    Returns
    -------
    Name and share in (0, 1], None where nothing is added.

    Examples
    --------
    >>> strongest({"patch": 1.0, "component": -2.0, "global": 3.0})
    ('global', 0.75)
    """
    positive = {name: one for name, one in added.items() if 0.0 < one < math.inf}
    if not positive:
        return None
    name = max(positive, key=positive.__getitem__)
    return name, positive[name] / math.fsum(positive.values())
