"""Structural contrastive loss: patches of one region together, of different regions apart.

CMPMB (arXiv 2603.21562) Eq. 11-13 sums cosines of pairs; the released code of UCAD (AAAI 2024),
on which it builds, uses a bounded mean with a temperature. METHODS 2.1 weighs the two.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def structural_contrastive_loss(
    features: Tensor,
    regions: Tensor,
    temperature: float = 0.5,
    form: Literal["bounded", "paper"] = "bounded",
) -> Tensor:
    """Mean over the images of a loss over all ordered pairs of patches within one image.

    With the cosine s of a pair and temperature T,

        bounded   mean of  -s / T  where the regions agree,  exp(s / T)  where they differ
        paper     sum of   -s      where the regions agree,  s           where they differ

    A patch paired with itself counts; it adds a constant. The paper's form grows with the square
    of the number of patches and has no temperature, so its learning rate does not carry over from
    one grid to another; hence bounded is the default.

    Parameters
    ----------
    features
        (batch, n_patches, channels) float32; their lengths do not matter.
    regions
        (batch, n_patches) int64, comparable within an image only.
    temperature
        T; the bounded form lies in [-1/T, exp(1/T)].
    form
        Which of the two.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ValueError
        The shapes of features and regions do not belong together.
    """
    if features.shape[:2] != regions.shape:
        raise ValueError(
            f"features {tuple(features.shape)} and regions {tuple(regions.shape)} differ in "
            "(batch, n_patches)"
        )
    unit = functional.normalize(features, dim=-1)
    cosine = unit @ unit.transpose(1, 2)
    same = regions[:, :, None] == regions[:, None, :]
    if form == "paper":
        return torch.where(same, -cosine, cosine).sum(dim=(1, 2)).mean()
    return torch.where(same, -cosine / temperature, torch.exp(cosine / temperature)).mean()
