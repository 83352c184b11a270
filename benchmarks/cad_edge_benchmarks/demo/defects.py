"""Defects that a person sees at once, drawn into grey windows: seeded, with masks.

Only the brushes are those of `cad_edge_training.synthetic`, for two reasons. Learning chooses
settings on its defects, and a test should not repeat what was practised. And its defects carry a
tint, which on a grey photograph gives them away however small they are: a figure made with them
says nothing.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from cad_edge.data.image import Frame

Mask = NDArray[np.bool_]
"""(height, width) bool, True where the defect is."""

DARK, BRIGHT = (10, 40), (215, 245)  # grey levels of paint and of bare material


def draw_defects(windows: Frame, foreign: Frame, seed: int) -> tuple[Frame, NDArray[np.bool_]]:
    """Give every window one defect; the kinds of `KINDS` take turns.

    Parameters
    ----------
    windows
        (n, side, side, 3) uint8; not changed.
    foreign
        (height, width, 3) uint8, photograph of another material, larger than a window.
    seed
        Equal seeds give equal defects.

    Returns
    -------
    Windows (n, side, side, 3) uint8 and masks (n, side, side) bool.
    """
    kinds = list(KINDS.values())
    drawn = [
        kinds[number % len(kinds)](window, foreign, np.random.default_rng((seed, number)))
        for number, window in enumerate(windows)
    ]
    return np.stack([window for window, _ in drawn]), np.stack([mask for _, mask in drawn])


def kind_of(number: int) -> str:
    """Name of the kind of defect that window ``number`` gets."""
    return list(KINDS)[number % len(KINDS)]


def cut_and_paste(window: Frame, foreign: Frame, rng: np.random.Generator) -> tuple[Frame, Mask]:
    """Paste a rectangle cut out of the other photograph, as a foreign body would lie there."""
    side = len(window)
    height, width = (int(length) for length in rng.uniform(0.2, 0.34, 2) * side)
    from_y = int(rng.integers(0, foreign.shape[0] - height))
    from_x = int(rng.integers(0, foreign.shape[1] - width))
    top, left = (int(rng.integers(0, side - length)) for length in (height, width))
    damaged, mask = window.copy(), np.zeros((side, side), np.bool_)
    place = (slice(top, top + height), slice(left, left + width))
    damaged[place] = foreign[from_y : from_y + height, from_x : from_x + width]
    mask[place] = True
    return damaged, mask


def scratch(window: Frame, _: Frame, rng: np.random.Generator) -> tuple[Frame, Mask]:
    """Draw a wandering line as a tool would leave it."""
    from cad_edge_training.synthetic import OVERSAMPLING, wandering_line

    side, way = len(window), wandering_line(rng)
    reach = rng.uniform(0.45, 0.8) * side / len(way)
    points = (way - way.mean(axis=0)) * reach + rng.uniform(0.35, 0.65, 2) * side
    thickness = rng.uniform(0.035, 0.05) * side

    def draw(pen: ImageDraw.ImageDraw) -> None:
        corners = [(float(x), float(y)) for x, y in points * OVERSAMPLING]
        pen.line(corners, fill=255, width=round(thickness * OVERSAMPLING), joint="curve")

    return _cover(window, draw, 0.4, rng)


def blot(window: Frame, _: Frame, rng: np.random.Generator) -> tuple[Frame, Mask]:
    """Drop paint: an irregular round spot under which the surface disappears."""
    from cad_edge_training.synthetic import OVERSAMPLING

    side = len(window)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = np.arange(2, 6)[:, None]
    phases = rng.uniform(0, 2 * np.pi, (len(waves), 1))
    bumps = rng.normal(0, 0.25 / waves[:, 0]) @ np.cos(waves * angles + phases)
    radii = rng.uniform(0.09, 0.16) * side * np.clip(1 + bumps, 0.5, 1.6)
    outline = np.stack((np.cos(angles), np.sin(angles)), axis=1) * radii[:, None]
    points = outline + rng.uniform(0.2, 0.8, 2) * side

    def draw(pen: ImageDraw.ImageDraw) -> None:
        pen.polygon([(float(x), float(y)) for x, y in points * OVERSAMPLING], fill=255)

    return _cover(window, draw, 0.6, rng)


Kind = Callable[[Frame, Frame, np.random.Generator], tuple[Frame, Mask]]
KINDS: dict[str, Kind] = {"cut_and_paste": cut_and_paste, "scratch": scratch, "blot": blot}
"""From a window, the other photograph and a source of choices to the damaged window and a mask."""


def _cover(
    window: Frame,
    draw: Callable[[ImageDraw.ImageDraw], None],
    softness: float,
    rng: np.random.Generator,
) -> tuple[Frame, Mask]:
    """Cover with one grey what ``draw`` paints; ``softness`` of the edge in pixels."""
    from cad_edge_training.synthetic import VISIBLE, stroke

    opacity = stroke((window.shape[0], window.shape[1]), draw, softness)[..., None]
    grey = rng.uniform(*(DARK if rng.random() < 0.5 else BRIGHT))
    damaged = np.rint(window * (1 - opacity) + grey * opacity).astype(np.uint8)
    mask: Mask = opacity[..., 0] >= VISIBLE
    return damaged, mask
