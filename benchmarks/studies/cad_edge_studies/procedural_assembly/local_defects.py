"""Local defects: damage to what the camera looks at. No item comes, goes or moves."""

from collections.abc import Callable

import numpy as np

from cad_edge_studies.procedural_assembly.surfaces import PITCH, Surface, smooth, window
from cad_edge_studies.procedural_rgbd_line.fields import Field, Plane, noise

_Where = tuple[slice, slice]
_LEVEL = 0.45  # mm: damage happens to one surface, not to what lies above or beneath it too
_KEPT = 0.8  # share of a damage that one surface must hold
_TRIES = 200  # places that are drawn until one does; a tray is mostly such surfaces


def _on_one_surface(
    surface: Surface, reach: float, rng: np.random.Generator, shape: Callable[[Plane], Field]
) -> tuple[_Where, Field]:
    """Draw a place for a damage, and return what of it lies on the surface in its middle."""
    for _ in range(_TRIES):
        x, y, turn = rng.uniform(-45, 45), rng.uniform(-45, 45), rng.uniform(0, 2 * np.pi)
        where, at = window(x, y, turn, reach)
        middle = np.unravel_index(int(np.argmin(at.radius)), at.u.shape)
        height, whole = surface.height[where], shape(at)
        kept = whole * (np.abs(height - height[middle]) < _LEVEL) * (height > -0.5)
        if kept.sum() > _KEPT * whole.sum():
            return where, kept
    raise AssertionError("no surface is large enough")


def _scratch(surface: Surface, rng: np.random.Generator) -> tuple[_Where, Field]:
    half, bend = rng.uniform(6, 11), rng.normal(0, 0.012)
    wide, phase = rng.uniform(0.34, 0.48), rng.uniform(0, 6)

    def shape(at: Plane) -> Field:
        wander = bend * at.u**2 + 0.12 * np.sin(at.u * 0.9 + phase)
        ends = np.clip((half - np.abs(at.u)) / 1.5, 0, 1)
        pressed = wide * (0.75 + 0.25 * np.sin(at.u * 2.3 + phase)) * np.sqrt(ends)
        cover: Field = np.clip((pressed - np.abs(at.v - wander)) / PITCH + 0.5, 0, 1) * (ends > 0)
        return cover

    where, cover = _on_one_surface(surface, half + 1, rng, shape)
    surface.height[where] -= 0.12 * cover
    # A groove in plastic whitens, one in white paper or paint shows dark.
    bright = surface.albedo[where].mean(axis=-1, keepdims=True)
    surface.albedo[where] += (
        cover[..., None] * 0.75 * (np.where(bright > 0.3, 0.12, 0.48) - surface.albedo[where])
    )
    return where, cover


def _stain(surface: Surface, rng: np.random.Generator) -> tuple[_Where, Field]:
    size, strength = rng.uniform(2.4, 3.8), rng.uniform(0.5, 0.7)
    lobes, turns = rng.normal(0, 0.08, 4), rng.uniform(0, 6, 4)

    def shape(at: Plane) -> Field:
        waves = [
            lobe * np.cos((number + 2) * at.angle + turn)
            for number, (lobe, turn) in enumerate(zip(lobes, turns, strict=True))
        ]
        return smooth((size * (1 + np.sum(waves, axis=0)) - at.radius) / 0.8 + 0.5)

    where, cover = _on_one_surface(surface, 1.7 * size, rng, shape)
    thick = cover * (1 + 0.12 * noise(rng, max(cover.shape), 8)[: len(cover), : cover.shape[1]])
    soaked = (thick * strength)[..., None] * np.array([0.75, 0.92, 1.1])
    surface.albedo[where] *= np.clip(1 - soaked, 0, 1)
    surface.gloss[where] += cover * (0.75 - surface.gloss[where])
    return where, cover


_DAMAGES = {"scratch": _scratch, "stain": _stain}

DAMAGES: tuple[str, ...] = tuple(_DAMAGES)
"""By name, in alphabetical order."""


def damage(surface: Surface, name: str, rng: np.random.Generator) -> Field:
    """Damage the surface.

    Parameters
    ----------
    surface
        A whole scene; it is changed.
    name
        One of `DAMAGES`.
    rng
        Draws where, how large and how strong.

    Returns
    -------
    Field
        (rows, columns) of the surface, 1 where it is damaged.
    """
    damaged = np.zeros_like(surface.height)
    where, cover = _DAMAGES[name](surface, rng)
    damaged[where] = cover
    return damaged
