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
from cad_edge_training.learned import Request


def hold_out(
    request: Request, judge: Callable[[NDArray[np.int64], NDArray[np.int64]], Tensor]
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


def calibrate_maps(
    request: Request,
    patches: Tensor,
    places: NDArray[np.int64],
    smoothing: float,
    scores: NDArray[Any] | None = None,
) -> Calibration:
    """Turn the patch scores of held-out images into a calibration.

    Parameters
    ----------
    request
        What is learned from, with its folds.
    patches
        (n, grid height, grid width) float32, as the finished model scores patches.
    places
        (n,) place of each image among the training images.
    smoothing
        Standard deviation of the map's Gaussian, in pixels.
    scores
        (n,) image scores; the highest patch of each without them.
    """
    recipe, (height, width) = request.backbone.recipe, patches.shape[1:]
    rows = map_matrix(recipe.height, height, smoothing)
    columns = map_matrix(recipe.width, width, smoothing)
    maps = rows @ patches.numpy() @ columns.T
    highest = patches.amax(dim=(1, 2)).double().numpy() if scores is None else scores
    return calibrate(
        HeldOutScores(highest, maps.max(axis=(1, 2)).astype(np.float64), lower_quartile(maps)),
        request.held_out_images(places, request.folds.groups),
        request.folds.scheme,
        request.folds.count,
    )
