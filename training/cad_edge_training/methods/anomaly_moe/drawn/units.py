"""Units in which drawn experts and their router see images, and the clusters of a product."""

import torch
from torch import Tensor

from cad_edge_training.backbones import Backbone
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.layout import Layout
from cad_edge_training.methods.anomaly_moe.fitted import describe_components
from cad_edge_training.methods.anomaly_moe.fitting import DEVIATION_FLOOR, fit_centres

SMALLEST = 1e-6  # deviation of a channel
SMALLEST_SHARE = 1e-3  # deviation of a number of the descriptor, of the mean of all deviations


def fit_space(patches: Tensor, backbone: Backbone) -> dict[str, Tensor]:
    """Mean and deviation of every channel of patches (n, p, d), and the backbone's own of pixels.

    Returns
    -------
    dict
        ``mean`` and ``deviation`` (d,); ``pixel_scale`` and ``pixel_offset`` (3,), which bring
        images from 0 to 255 to what the backbone sees.
    """
    deviation, mean = torch.std_mean(patches, dim=(0, 1), correction=0)
    ends = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 1, 1, 3)
    low, high = backbone.normalise(ends)[:, :, 0, 0]
    return {
        "mean": mean,
        "deviation": deviation.clamp(min=SMALLEST),
        "pixel_scale": (high - low) / 255,
        "pixel_offset": low.clone(),
    }


def fit_descriptors(descriptors: Tensor) -> dict[str, Tensor]:
    """``mean`` and ``deviation`` (D,) of descriptors (n, D), which the router takes off them."""
    deviation, mean = torch.std_mean(descriptors, dim=0, correction=0)
    smallest = max(SMALLEST_SHARE * float(deviation.mean()), SMALLEST)
    return {"mean": mean, "deviation": deviation.clamp(min=smallest)}


def fit_clusters(projected: Tensor, layout: Layout, config: Config, seed: int) -> dict[str, Tensor]:
    """Clusters of a product's standardised patches (n, p, d), as published of each on its own.

    Returns
    -------
    dict
        ``centres`` (K, d); with geometry ``geometry_mean`` and ``geometry_gain`` (K, 3) of area
        and centre.
    """
    found = {"centres": fit_centres(projected, config, seed)}
    if config.geometry:
        vectors = describe_components(found, projected, layout.grid, geometry=True).vectors
        deviation, mean = torch.std_mean(vectors[..., layout.features :], dim=0, correction=0)
        found["geometry_mean"] = mean
        found["geometry_gain"] = 1 / deviation.clamp(min=DEVIATION_FLOOR)
    return found
