"""The two losses of CDAD (arXiv 2502.19848, Eq. 12), both with weight 1 (METHODS 4.2)."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from cad_edge_training.methods.cdad.schedule import Prediction


def diffusion_loss(
    predicted: Tensor, clean: Tensor, noise: Tensor, prediction: Prediction
) -> Tensor:
    """Mean square between a prediction and what it is of: the clean latents, or the noise.

    Parameters
    ----------
    predicted, clean, noise
        (n, c, h, w). Clean latents are those of the part without the drawn defect, since it is
        them that are noised; only the condition has seen the defect.
    """
    return functional.mse_loss(predicted, clean if prediction == "x0" else noise)


def condition_loss(added: Tensor, local: Tensor, stop_grad_target: bool = True) -> Tensor:
    """Mean square between AMN of images with drawn defects and the local encoding of clean ones.

    Parameters
    ----------
    added
        (n, width, h, w), AMN's condition of the latents with defects.
    local
        Of the same shape, `AMN.local` of the clean latents.
    stop_grad_target
        Whether the local encoding gets no gradient as a target. As released it gets one, and may
        please by growing equal for all images; it learns as part of AMN either way.
    """
    return functional.mse_loss(added, local.detach() if stop_grad_target else local)


class LocalVariation(NamedTuple):
    """Deviations of the local encoding, for the report."""

    between_images: float
    """Of the same channel and cell from image to image, the root of the mean variance."""
    overall: float
    """Of all numbers."""


def local_variation(local: Tensor) -> LocalVariation:
    """Measure whether the local encoding still tells images apart.

    Its overall deviation says nothing: the non-local encoder ends in a norm, so that it grows to 1
    while the encoding may become the same for all images (METHODS 9).

    Parameters
    ----------
    local
        (n, width, h, w) of different images, at least two; of one there is no variation.

    Examples
    --------
    >>> import torch
    >>> local_variation(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 8, 4, 4))
    LocalVariation(between_images=1.0, overall=1.0)
    """
    values = local.detach().double()
    between = values.var(dim=0, correction=0).mean().sqrt()
    return LocalVariation(between.item(), values.std(correction=0).item())
