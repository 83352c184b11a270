"""Laying one picture onto another: local contrast, a coarse search, and the fit that refines it.

Pictures are compared by their contrast at one scale, divided by what is usual around a pixel: that
forgets brightness, exposure and slow shading, and gives faint grain as much say as a strong edge.
A copy may be shifted, cropped and rescaled, hence shift and scale of rows and columns are fitted by
Gauss-Newton on the correlation (Evangelidis and Psarakis, 2008), from coarse to fine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Plane: TypeAlias = NDArray[np.float32]
"""(side, side) float32."""

FLOOR = 1.0  # grey levels: contrast below it is rounding, not grain
STEPS = 8  # of Gauss-Newton; most fits stop after three
LARGEST_SHIFT = 0.1  # of a side; beyond it two pictures share too little to be called one
LARGEST_SCALE = 1.12
FULL = 64  # pixels of a side of contrast that spectra are made of
MARGIN = 32  # a 32nd of each side is left out: filters see nothing beyond a picture's border


@dataclass(frozen=True)
class AxisOverlap:
    """Where rows, or columns, of one picture lie in the other one."""

    scale: float = 1.0
    shift: float = 0.0
    """As a share of the side."""

    def positions(self, side: int) -> NDArray[np.float64]:
        """Positions (side,) in pixels of the other picture."""
        middle = (side - 1) / 2
        places = np.arange(side, dtype=np.float64) - middle
        return middle + places * self.scale + self.shift * side

    @property
    def allowed(self) -> bool:
        """Whether a copy could lie so."""
        small = abs(self.shift) <= LARGEST_SHIFT
        return small and 1 / LARGEST_SCALE <= self.scale <= LARGEST_SCALE


@dataclass(frozen=True)
class Registration:
    """How one picture lies in another, and how well they agree there."""

    rows: AxisOverlap
    columns: AxisOverlap
    correlation: float


def local_contrast(grey: Plane, fine: float, coarse: float) -> Plane:
    """Contrast between two scales, in units of what is usual around each pixel.

    Parameters
    ----------
    grey
        (side, side) grey levels.
    fine, coarse
        Standard deviations in pixels of the two Gaussians whose difference is taken.
    """
    band = ndimage.gaussian_filter(grey, fine) - ndimage.gaussian_filter(grey, coarse)
    usual = np.sqrt(ndimage.gaussian_filter(band * band, 2 * coarse))
    contrast: Plane = (band / (usual + FLOOR)).astype(np.float32)
    return contrast


def windowed(contrast: Plane) -> Plane:
    """Contrast without mean, faded out at the border, of length 1: what spectra are made of."""
    side = contrast.shape[0]
    fade = (np.hanning(side + 2)[1:-1] ** 0.25).astype(np.float32)
    faded = contrast * fade[:, None] * fade
    faded = faded - faded.mean()
    length = float(np.linalg.norm(faded))
    result: Plane = (faded / max(length, 1e-6)).astype(np.float32)
    return result


def spectrum(contrast: Plane, kept: int = 3 * FULL // 8) -> NDArray[np.complex64]:
    """Fourier transform of `windowed` contrast (64, 64) up to a frequency.

    Parameters
    ----------
    kept
        How many frequencies; all but the finest quarter if not given.

    Returns
    -------
    (2 * kept, kept + 1) complex64.
    """
    transformed = fft.rfft2(windowed(contrast))
    cut: NDArray[np.complex64] = np.concatenate(
        [transformed[:kept, : kept + 1], transformed[-kept:, : kept + 1]]
    )
    return cut


def best_shifts(
    one: NDArray[np.complex64], others: NDArray[np.complex64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Highest correlation of a picture with each of others over all small shifts.

    Parameters
    ----------
    one
        `spectrum` of the picture.
    others
        Those of the others, (n, ...).

    Returns
    -------
    tuple
        Correlations (n,) and the shifts (n, 2) of rows and columns as shares of the side.
    """
    side = one.shape[0]
    reach = int(LARGEST_SHIFT * side) + 1
    moved = fft.irfft2(one.conj() * others, s=(side, side), workers=2)
    near = np.r_[0 : reach + 1, side - reach : side]
    window = moved[:, near[:, None], near].reshape(len(others), -1)
    best = window.argmax(axis=1)
    shifts = np.where(near > reach, near - side, near) / side
    places = np.stack([shifts[best // len(near)], shifts[best % len(near)]], axis=1)
    # Lengths were 1 on the full grid, which had more points.
    scale = (side / FULL) ** 2
    return window[np.arange(len(others)), best] * scale, places


def laid_on(contrast: Plane, fit: Registration) -> tuple[Plane, tuple[slice, slice]]:
    """Resample a picture so that it lies on the other one.

    Returns
    -------
    tuple
        (side, side) float32, and the rows and columns of it that both pictures show.
    """
    rows, columns = fit.rows, fit.columns
    upright = _resampled(contrast, rows)
    moved = _resampled(np.ascontiguousarray(upright.T), columns).T
    side = len(contrast)
    return moved, (_inside(side, rows), _inside(side, columns))


def _resampled(contrast: Plane, axis: AxisOverlap) -> Plane:
    """Rows of a picture at other places, by cubic interpolation (Keys, 1981)."""
    side = len(contrast)
    positions = axis.positions(side).clip(0, side - 1)
    first = np.floor(positions).astype(np.int64)
    beyond = (positions - first).astype(np.float32)[:, None]
    square, cube = beyond * beyond, beyond * beyond * beyond
    weights = (
        -0.5 * cube + square - 0.5 * beyond,
        1.5 * cube - 2.5 * square + 1,
        -1.5 * cube + 2 * square + 0.5 * beyond,
        0.5 * cube - 0.5 * square,
    )
    rows = [contrast[(first + step).clip(0, side - 1)] for step in (-1, 0, 1, 2)]
    mixed: Plane = weights[0] * rows[0]
    for weight, row in zip(weights[1:], rows[1:], strict=True):
        mixed += weight * row
    return mixed


def _inside(side: int, axis: AxisOverlap) -> slice:
    """Rows that both pictures show, margins aside."""
    margin = side // MARGIN
    positions = axis.positions(side)[margin : side - margin]
    kept = np.flatnonzero((positions >= margin) & (positions <= side - 1 - margin)) + margin
    return slice(int(kept[0]), int(kept[-1]) + 1) if len(kept) else slice(0, 0)


def refined(one: Plane, other: Plane, start: Registration) -> Registration:
    """Improve shift and scale with which ``other`` lies on ``one``; the best fit on the way.

    Parameters
    ----------
    one, other
        Contrast (side, side).
    start
        Where to begin; its correlation is not looked at.
    """
    best = Registration(start.rows, start.columns, -1.0)
    rows, columns = start.rows, start.columns
    for _ in range(STEPS):
        moved, shared = laid_on(other, Registration(rows, columns, 0.0))
        if moved[shared].size < one.size / 2:
            break
        reached = correlation(one[shared], moved[shared])
        gain = reached - best.correlation
        if gain > 0:
            best = Registration(rows, columns, reached)
        if gain < 5e-4:
            break
        rows, columns = _step(one, moved, shared, (rows, columns))
        if not (rows.allowed and columns.allowed):
            break
    return best


def _step(
    one: Plane, moved: Plane, over: tuple[slice, slice], axes: tuple[AxisOverlap, AxisOverlap]
) -> tuple[AxisOverlap, AxisOverlap]:
    """One step of Gauss-Newton over shift and scale of both axes, gain and offset of contrast."""
    side = one.shape[0]
    here, there = one[over], moved[over]
    down = (there[2:, 1:-1] - there[:-2, 1:-1]) * (side / 2)
    across = (there[1:-1, 2:] - there[1:-1, :-2]) * (side / 2)
    places = ((np.arange(side) - (side - 1) / 2) / side).astype(np.float32)
    rows, columns = places[over[0]][1:-1, None], places[over[1]][None, 1:-1]
    inner = there[1:-1, 1:-1]
    parts = [down * rows, down, across * columns, across, inner, np.ones_like(inner)]
    slopes = np.stack(parts).reshape(6, -1)
    normal = slopes @ slopes.T
    normal += 1e-6 * np.trace(normal) / 6 * np.eye(6, dtype=np.float32)
    solved = np.linalg.solve(normal, slopes @ here[1:-1, 1:-1].ravel())
    gain = max(float(solved[4]), 0.2)
    stretch_rows, shift_rows, stretch_columns, shift_columns = (solved[:4] / gain).tolist()
    return (
        _moved(axes[0], stretch_rows, shift_rows),
        _moved(axes[1], stretch_columns, shift_columns),
    )


def _moved(axis: AxisOverlap, stretch: float, shift: float) -> AxisOverlap:
    return AxisOverlap(axis.scale * (1 + stretch), axis.shift + shift * axis.scale)


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Pearson's correlation of two arrays of one shape; 0 where one of them is constant."""
    first, second = one.ravel() - one.mean(), other.ravel() - other.mean()
    lengths = float(first @ first) * float(second @ second)
    return float(first @ second) / lengths**0.5 if lengths > 1e-12 else 0.0


def partial_correlation(
    one: NDArray[np.float32], other: NDArray[np.float32], usual: Sequence[NDArray[np.float32]]
) -> float:
    """Partial correlation (n,) (n,) given others (n,), which may be none."""
    left = [values - values.mean() for values in (one, other)]
    if usual:
        known = np.stack([values - values.mean() for values in usual])
        normal = known @ known.T
        normal += 1e-3 * np.trace(normal) / len(known) * np.eye(len(known), dtype=np.float32)
        left = [values - np.linalg.solve(normal, known @ values) @ known for values in left]
    return correlation(left[0], left[1])
