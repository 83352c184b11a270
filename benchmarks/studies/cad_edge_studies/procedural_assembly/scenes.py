"""Scenes: a tray with its items, as the camera sees it, and where what is wrong with it is."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cad_edge.data.image import Frame
from cad_edge_studies.procedural_assembly.camera import draw_light, expose, sense
from cad_edge_studies.procedural_assembly.items import draw_item
from cad_edge_studies.procedural_assembly.layout import Item, good_layout
from cad_edge_studies.procedural_assembly.local_defects import DAMAGES, damage
from cad_edge_studies.procedural_assembly.rule_breaks import RULE_BREAKS
from cad_edge_studies.procedural_assembly.surfaces import (
    FINER,
    SIDE,
    Pose,
    Surface,
    draw_pose,
    empty_tray,
)
from cad_edge_studies.procedural_rgbd_line.fields import Field

LEVELS: Mapping[str, str] = {
    **dict.fromkeys(RULE_BREAKS, "logical"),
    **dict.fromkeys(DAMAGES, "local"),
}
"""Level of every kind of defect: `logical` or `local`."""

_COVERED = 0.4  # share of a pixel that a defect covers where the mask holds


class Scene(NamedTuple):
    """One tray as it is seen."""

    rgb: Frame
    """(side, side, 3) uint8."""
    mask: NDArray[np.bool_]
    """(side, side), where the defect is; all False for a good tray."""
    levels: Field
    """(side, side, 3) in 0..255, the image before the sensor's noise."""
    items: tuple[Item, ...]
    """What lies on the tray."""


def render(seeds: tuple[int, ...], defect: str | None = None) -> Scene:
    """Render one tray.

    Parameters
    ----------
    seeds
        All that is drawn is a function of them; with and without a defect it is the same tray,
        in the same pose and light, with the same noise.
    defect
        One of `LEVELS`, or None.

    Examples
    --------
    >>> render((0,), "missing").mask.any()
    True
    """
    chance = [np.random.default_rng([*seeds, purpose]) for purpose in range(6)]
    pose, light = draw_pose(chance[0]), draw_light(chance[1])
    surface = empty_tray(pose, chance[2])
    good = good_layout(chance[3])
    logical = defect is not None and LEVELS[defect] == "logical"
    items = RULE_BREAKS[defect](good, chance[4]) if defect and logical else good
    absent = [item for item in good if item not in items]
    wrong = _places(absent, surface, pose)
    for item in items:
        cover = draw_item(surface, item, pose)
        if item not in good:
            np.maximum(wrong, cover, out=wrong)
    if defect and not logical:
        wrong = damage(surface, defect, chance[4])
    levels = expose(surface, light)
    mask = wrong.reshape(SIDE, FINER, SIDE, FINER).mean(axis=(1, 3)) > _COVERED
    return Scene(sense(levels, chance[5]), mask, levels, items)


def _places(items: list[Item], surface: Surface, pose: Pose) -> Field:
    """Where items would lie, (rows, columns) of the surface, which stays as it is."""
    aside = Surface(*(field.copy() for field in vars(surface).values()))
    covers = [np.zeros_like(surface.height), *(draw_item(aside, item, pose) for item in items)]
    places: Field = np.max(covers, axis=0)
    return places
