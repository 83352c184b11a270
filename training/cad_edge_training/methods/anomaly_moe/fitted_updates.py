"""Gradient updates on top of fitted experts, an option: ``start=fitted`` with ``steps``.

The closed form is already the minimum of each reconstruction error over the parts that were learned
from. What updates add is hard mining, which looks at the cells that are reconstructed worst. The
Gaussian of patches reconstructs nothing and stays as it is.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from cad_edge.errors import CadEdgeError
from cad_edge_training.methods.anomaly_moe.config import Config
from cad_edge_training.methods.anomaly_moe.drawn.losses import SMALLEST, mined
from cad_edge_training.methods.anomaly_moe.drawn.optimiser import StableAdamW
from cad_edge_training.methods.anomaly_moe.drawn.training_loop import rate_at
from cad_edge_training.methods.anomaly_moe.fitted import (
    Grid,
    Weights,
    component_residual,
    describe_components,
    global_residual,
    standardised_components,
)


def updated(
    level: str, weights: Weights, projected: Tensor, grid: Grid, config: Config, seed: int
) -> dict[str, Tensor]:
    """Learn the directions of an expert further, by `config.steps` updates of StableAdamW.

    The loss is 1 - R^2 of the images of a batch, its squares mined hard: divided by that of the
    expert's mean, as losses of drawn experts are.

    Parameters
    ----------
    level
        ``component`` or ``global``; of others the weights come back as they are.
    weights
        Fitted; not changed.
    projected
        (n, p, c) of the images that the expert is for.

    Raises
    ------
    CadEdgeError
        A loss is not a number.
    """
    if level == "patch" or not config.steps:
        return dict(weights)
    basis = weights["basis"].clone().requires_grad_()
    optimiser = StableAdamW([basis], config.learning_rate, config.weight_decay)
    learned = {**weights, "basis": basis}
    for update, index in enumerate(_batches(len(projected), config, seed)):
        loss = unexplained(level, learned, projected[index], grid, config)
        if not bool(torch.isfinite(loss)):
            raise CadEdgeError(
                f"fitted experts cannot be learned further: at update {update + 1} of "
                f"{config.steps} the loss is not a number; try a learning_rate below "
                f"{config.learning_rate:g}"
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([basis], config.clip)
        optimiser.rate = rate_at(update, config)
        optimiser.step()
    return {**weights, "basis": basis.detach()}


def unexplained(
    level: str, weights: Mapping[str, Tensor], projected: Tensor, grid: Grid, config: Config
) -> Tensor:
    """1 - R^2 (scalar) of an expert on projected patches (n, p, c), with hard mining."""
    if level == "global":
        residual = global_residual(weights, projected)
        centred = projected.flatten(1) - weights["mean"]
    else:
        described = describe_components(weights, projected, grid, config.geometry)
        centred = standardised_components(weights, described, config.geometry)
        residual = component_residual(weights, centred)
    squares = mined(residual.square().mean(-1), config.hard_mining)
    return squares.mean() / centred.square().mean().clamp(min=SMALLEST)


def _batches(images: int, config: Config, seed: int) -> Iterator[Tensor]:
    """Places (m,) of the images of every update, each pass over all in another order."""
    generator, done = torch.Generator().manual_seed(seed), 0
    while done < config.steps:
        order = torch.randperm(images, generator=generator)
        for index in torch.split(order, config.batch):
            if done < config.steps:
                yield index
            done += 1
