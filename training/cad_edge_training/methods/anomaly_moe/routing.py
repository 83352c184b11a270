"""Logits of the router, which has two forms: a discriminant of each level, or a perceptron.

Fitted experts have the former, with a weight of each level that is added to its logits; drawn ones
the latter, which has learned by itself what a level weighs.
"""

import torch
from torch import Tensor

from cad_edge_training.methods.anomaly_moe.config import LEVELS
from cad_edge_training.methods.anomaly_moe.discriminant import log_probabilities
from cad_edge_training.methods.anomaly_moe.drawn.router import route
from cad_edge_training.methods.anomaly_moe.fitted import Weights

MEAN, DEVIATION = "mean", "deviation"
"""Weights of a perceptron beside its layers: of every number of the descriptors it learned from."""


def logits_of(router: Weights, descriptors: Tensor) -> Tensor:
    """Logits (n, levels * experts) of descriptors (n, D)."""
    return weighted(unweighted_logits(router, descriptors), router)


def unweighted_logits(router: Weights, descriptors: Tensor) -> Tensor:
    """Logits before `weighted`, which needs what is known of held-out parts."""
    if DEVIATION not in router:
        return log_probabilities(router, descriptors)
    layers = {name.replace("/", "."): one for name, one in router.items()}
    return route(layers, (descriptors - router[MEAN]) / router[DEVIATION])


def weighted(logits: Tensor, router: Weights) -> Tensor:
    """Add ``<level>/log_weight`` to the logits of each level, where the router has them."""
    weights = [router[f"{level}/log_weight"] for level in LEVELS if f"{level}/log_weight" in router]
    return logits + torch.cat(weights) if weights else logits
