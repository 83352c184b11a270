"""Levels of evidence beside those of torch, for certificates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cad_edge.errors import CertificateError
from cad_edge.store.artifact import LearnedTask
from cad_edge_training.method import ShowsLevels

LEVELS, LEVEL_MAPS = "levels", "level_maps"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class LevelAnswers:
    """Which level of evidence scores rest on."""

    levels: Array
    """(n, levels) float32."""
    level_maps: Array | None
    """(n, levels, h, w) float32."""

    def arrays(self) -> list[Array]:
        """Return what there is of the two."""
        return [self.levels, *([] if self.level_maps is None else [self.level_maps])]


def levels_by_torch(
    model: torch.nn.Module, images: Array, depth: Array | None
) -> LevelAnswers | None:
    """Ask the reference model for its levels; None where it does not show them."""
    if not isinstance(model, ShowsLevels):
        return None
    inputs = [torch.from_numpy(one) for one in (images, depth) if one is not None]
    with torch.inference_mode():
        levels, maps = model.levels(*inputs)
    return LevelAnswers(levels.numpy(), None if maps is None else maps.numpy())


def levels_in(values: Mapping[str, Array], last: int) -> LevelAnswers | None:
    """Take the levels out of what the stages of an engine gave, the last being stage ``last``."""
    levels = values.get(f"{last}/{LEVELS}")
    return None if levels is None else LevelAnswers(levels, values.get(f"{last}/{LEVEL_MAPS}"))


def level_differences(
    task: LearnedTask, expected: LevelAnswers | None, got: LevelAnswers | None
) -> dict[str, float | None]:
    """Measure the largest difference of levels and of their maps, for a `Certificate`.

    It is a fraction of the range over the witness images, which come first, or of an image's
    largest value where that is larger. All levels have one unit and one range; the maps of every
    level have a range of their own.

    Raises
    ------
    CertificateError
        There are other numbers of levels, or maps of another size.
    """
    if expected is None or got is None:
        return {}
    witnesses, name = len(task.witness["image"]), task.artifact.task
    most = _largest(expected.levels, got.levels, witnesses, name)
    if expected.level_maps is None or got.level_maps is None:
        return {"levels_max": most}
    # (levels, n, values), so that every level is measured by itself.
    flat = [np.moveaxis(one, 1, 0) for one in (expected.level_maps, got.level_maps)]
    if flat[0].shape != flat[1].shape:
        raise _unlike(expected.level_maps, got.level_maps, name)
    rows = [one.reshape(*one.shape[:2], -1) for one in flat]
    largest = [_largest(a, b, witnesses, name) for a, b in zip(*rows, strict=True)]
    return {"levels_max": most, "level_maps_max": float(np.max(largest))}


def _largest(expected: Array, got: Array, witnesses: int, task: str) -> float:
    if expected.shape != got.shape:
        raise _unlike(expected, got, task)
    known = expected[:witnesses]
    span = max(float(known.max() - known.min()), 1e-6)
    scale = np.maximum(np.abs(expected).max(axis=1, keepdims=True), span)
    return float((np.abs(expected - got) / scale).max())


def _unlike(expected: Array, got: Array, task: str) -> CertificateError:
    return CertificateError(
        f"task {task}: the exported engine gives levels of shape {got.shape} and torch of "
        f"{expected.shape}; nothing was written"
    )
