"""Directions that products use: recorded while the network restores some of their good parts."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cad_edge_training.methods.cdad.bases import LayerBases
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.incremental_svd import IncrementalSVDs
from cad_edge_training.methods.cdad.inputs import basis_widths, recorded_inputs
from cad_edge_training.methods.cdad.network import DiffusionNetwork, sampling_of
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.second_moments import SecondMoments
from cad_edge_training.methods.cdad.training_loop import TrainingData

FEWEST = 12
"""Images that are recorded at least, where there are so many."""


def protect(
    network: DiffusionNetwork, data: TrainingData, noise: Tensor, before: LayerBases, config: Config
) -> LayerBases:
    """Return bases of all products so far, those of the step's included.

    Inputs are what every layer sees while the sampler runs through all of its steps. Every second
    image has a synthetic defect; as released all of them have.

    Parameters
    ----------
    network
        After the step.
    data
        Of the step's products.
    noise
        (1, c, h, w), that of every frame.
    before
        Of the products before; empty at the first step.
    """
    layers, shared = network.projected(), network.basis_of()
    gammas = dict.fromkeys(basis_widths(layers, shared), config.energy)
    sampling = sampling_of(config)
    if config.bases == "gram":
        moments = SecondMoments()
        with torch.no_grad(), recorded_inputs(layers, moments, shared):
            for image in sampled(data, config.sampled):
                network(image, noise, sampling)
        return before.grown(moments.by_basis, gammas)
    found = IncrementalSVDs(gammas, before, paper=config.bases == "paper_isvd")
    with torch.no_grad(), recorded_inputs(layers, found, shared):
        for image in sampled(data, config.sampled):
            network(image, noise, sampling)
            found.end_block()
    return found.bases()


def sampled(data: TrainingData, share: float) -> Iterator[Parts]:
    """Yield evenly spread images one by one, every second one with a defect."""
    yield from data.spread(max(FEWEST, math.ceil(share * len(data.clean)))).split(1)
