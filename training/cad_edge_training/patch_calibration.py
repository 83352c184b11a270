"""Calibration of a method that scores patches, from those of held-out images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge.calibration import Calibration, lower_quartile
from cad_edge_training.gaussian import map_matrix
from cad_edge_training.held_out_scores import HeldOutScores, calibrate
from cad_edge_training.learned import LearningRequest

Maps = np.ndarray[Any, np.dtype[np.float32]]


def hold_out(
    request: LearningRequest, judge: Callable[[NDArray[np.int64], NDArray[np.int64]], Tensor]
) -> tuple[Tensor, NDArray[np.int64]]:
    """Judge every held-out image by what the others of its split taught.

    Parameters
    ----------
    request
        With its folds.
    judge
        Given the places of images to learn from and of images to judge, returns the patch scores
        (m, grid height, grid width) float32 of the latter.

    Returns
    -------
    Patch scores (n, grid height, grid width), and (n,) the place of each among the images.
    """
    patches, places = [], []
    for number, (fitted, held) in enumerate(request.folds.splits()):
        patches.append(judge(fitted, held))
        places.append(held)
        request.progress("held-out scores", number + 1, request.folds.count)
    return torch.cat(patches), np.concatenate(places)


def frame_maps(request: LearningRequest, patches: Tensor, smoothing: float) -> Maps:
    """Resize and smooth patch scores (n, grid height, grid width) to (n, height, width) float32.

    ``smoothing`` is the standard deviation of the Gaussian, in pixels.
    """
    recipe, (height, width) = request.backbone.recipe, patches.shape[1:]
    rows = map_matrix(recipe.height, height, smoothing)
    columns = map_matrix(recipe.width, width, smoothing)
    maps: Maps = rows @ patches.numpy() @ columns.T
    return maps


def calibrate_maps(
    request: LearningRequest, places: NDArray[np.int64], scores: Tensor, maps: Maps
) -> Calibration:
    """Turn what the finished model says of held-out images into a calibration.

    Parameters
    ----------
    request
        What is learned from, with its folds.
    places
        (n,) place of each image among the training images.
    scores
        (n,) image scores.
    maps
        (n, height, width) float32, from `frame_maps`.
    """
    return calibrate(
        held_out_scores(scores, maps),
        request.held_out_images(places, request.folds.groups),
        request.folds.scheme,
        request.folds.count,
    )


def held_out_scores(scores: Tensor, maps: Maps) -> HeldOutScores:
    """Sum up image scores (n,) and maps (n, height, width) of held-out images."""
    peaks = maps.max(axis=(1, 2)).astype(np.float64)
    return HeldOutScores(scores.double().numpy(), peaks, lower_quartile(maps))


def calibrate_patches(
    request: LearningRequest, patches: Tensor, places: NDArray[np.int64], smoothing: float
) -> Calibration:
    """Do `calibrate_maps` for a method whose score is the highest patch.

    Parameters are those of `frame_maps` and `calibrate_maps`.
    """
    maps = frame_maps(request, patches, smoothing)
    return calibrate_maps(request, places, patches.amax(dim=(1, 2)), maps)
