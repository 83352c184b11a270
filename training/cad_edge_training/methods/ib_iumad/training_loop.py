"""Learning a step: all of its products at once, from what the frozen backbone sees of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cad_edge_training.learned import Progress
from cad_edge_training.methods.ib_iumad.config import Config
from cad_edge_training.methods.ib_iumad.frozen import FrozenFeatures
from cad_edge_training.methods.ib_iumad.losses import class_loss
from cad_edge_training.methods.ib_iumad.network import Network
from cad_edge_training.methods.ib_iumad.regulariser import Compression, DampedUpdates

DROP = 0.1  # what the rate is times in the last part of the first step


@dataclass(frozen=True)
class TrainingSet:
    """What a step is learned from."""

    seen: FrozenFeatures
    """Standardised tokens of all images."""
    labels: Tensor
    """(images,) int64, the product's place among all."""
    seeds: tuple[int, int]
    """Of the run, and number of products before."""
    progress: Progress


def train_first(network: Network, training_set: TrainingSet, config: Config) -> None:
    """Learn the first step: AdamW, and semantic compression with the regulariser."""
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    compression = Compression() if config.regulariser and config.compression else None
    drop = round(config.drop_after * config.epochs)
    for epoch, batches in _epochs(network, training_set, config.epochs, config.batch):
        rate = config.learning_rate * (DROP if epoch >= drop else 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate
        for index in batches:
            _gradients(network, training_set, index, config, compression)
            optimiser.step()


def train_further(
    network: Network, training_set: TrainingSet, config: Config, damped: DampedUpdates | None
) -> None:
    """Learn a further step.

    Parameters
    ----------
    network
        As after the step before, its heads grown.
    training_set
        Of the new products.
    config
        Options.
    damped
        The regulariser; None learns on by AdamW at the first step's rate, and forgets.
    """
    optimiser = _optimiser_of_step(network, config, damped is not None)
    for _, batches in _epochs(network, training_set, config.step_epochs, config.step_batch):
        for index in batches:
            _gradients(network, training_set, index, config, None)
            if damped is not None:
                damped.before_update()
            optimiser.step()
            if damped is not None:
                damped.after_update()


def _optimiser_of_step(network: Network, config: Config, damped: bool) -> torch.optim.Optimizer:
    if damped and config.step_optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), lr=config.step_rate)
    rate = config.step_rate if damped else config.learning_rate
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=config.weight_decay)


def _gradients(
    network: Network,
    training_set: TrainingSet,
    index: Tensor,
    config: Config,
    compression: Compression | None,
) -> None:
    tokens = training_set.seen.rows(index).tokens
    disturbed = {name: jittered(one, config.jitter) for name, one in tokens.items()}
    found = network(tokens, disturbed)
    target = torch.cat([tokens[name] for name in config.targets], dim=-1)
    # Eq. 9 adds up channels. All of it over their number has the same ratio of losses, and
    # gradients whose length does not depend on the backbone.
    loss = functional.mse_loss(found.features, target)
    logits = network.logits(found)
    if logits:
        classes = class_loss(logits, training_set.labels[index])
        loss = loss + config.class_weight * classes / target.shape[-1]
    if compression is not None:
        loss = loss + config.compression * compression.loss(found.layers)
    network.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)


def jittered(tokens: Tensor, scale: float) -> Tensor:
    """Tokens (batch, n, channels) plus N(0, 1) * ||f|| / channels * scale (UniAD)."""
    norms = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True) / tokens.shape[-1]
    noisy: Tensor = tokens + torch.randn_like(tokens) * norms * scale
    return noisy


def _epochs(
    network: Network, training_set: TrainingSet, epochs: int, batch: int
) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """Batches of every pass; the network learns, and random numbers are the training set's own."""
    network.train()
    with _seeded(training_set.seeds):
        for epoch in range(epochs):
            order = torch.randperm(len(training_set.labels))
            yield epoch, torch.split(order, batch)
            training_set.progress("network", epoch + 1, epochs)
    network.eval()


@contextmanager
def _seeded(seeds: tuple[int, int]) -> Iterator[None]:
    """Make all that is drawn a function of ``seeds``, and leave torch's own generator alone."""
    with torch.random.fork_rng([]):
        torch.manual_seed(int(np.random.default_rng(seeds).integers(2**62)))
        yield
