"""Learning a step: two losses, and updates that may be kept out of older products' directions."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from cad_edge.errors import CadEdgeError
from cad_edge_training.learned import Progress
from cad_edge_training.methods.cdad.config import Config
from cad_edge_training.methods.cdad.losses import condition_loss, diffusion_loss
from cad_edge_training.methods.cdad.network import DiffusionNetwork
from cad_edge_training.methods.cdad.parts import Parts
from cad_edge_training.methods.cdad.projection import ProjectedUpdates
from cad_edge_training.methods.cdad.schedule import STEPS, noised

WARM_UP = 20
"""Updates over which a linear schedule rises."""


@dataclass(frozen=True)
class TrainingData:
    """The good parts that a step learns from."""

    clean: Parts
    """(n, ...)."""
    defective: Parts
    """(n, k, ...), of k copies of each with synthetic defects."""

    @property
    def copies(self) -> int:
        """Copies of each part with synthetic defects."""
        return self.defective.latents.shape[1]

    def conditions(self, index: Tensor, share: float) -> Tensor:
        """Return what AMN is told (m, ...) of images (m,), a ``share`` of them with a defect."""
        copy = torch.randint(self.copies, (len(index),))
        damaged = (torch.rand(len(index)) < share)[:, None, None, None]
        return torch.where(damaged, self.defective.told[index, copy], self.clean.told[index])

    def spread(self, count: int) -> Parts:
        """Return evenly spread images (count, ...), every second one with a defect.

        All images where there are not so many.
        """
        number = torch.arange(min(count, len(self.clean)))
        places = torch.linspace(0, len(self.clean) - 1, len(number)).round().long()
        damaged = self.defective.at((places, number // 2 % self.copies))
        return damaged.where(number % 2 == 1, self.clean.at(places))


class DistillationLoss(Protocol):
    """What older products' reconstructions are compared with."""

    def loss(self, network: DiffusionNetwork) -> Tensor:
        """Loss () of a network as it is now."""
        ...


@dataclass(frozen=True)
class Constraints:
    """What keeps a further step close to what older products have; at the first there is none."""

    projected: ProjectedUpdates | None = None
    exemplars: DistillationLoss | None = None


def rate_at(update: int, config: Config) -> float:
    """Share of the learning rate at an update, which counts from 0.

    Examples
    --------
    >>> from cad_edge_training.methods.cdad.config import Config
    >>> linear = Config(blocks=(1,), schedule="linear", updates=300)
    >>> [round(rate_at(update, linear), 3) for update in (0, 19, 150, 299)]
    [0.05, 0.937, 0.5, 0.003]
    """
    if config.schedule == "constant":
        return 1.0
    return min(1.0, (update + 1) / WARM_UP) * (1 - update / config.updates)


def train(
    network: DiffusionNetwork,
    data: TrainingData,
    config: Config,
    constraints: Constraints,
    seed: int,
    progress: Progress,
) -> None:
    """Learn for `config.updates` updates; equal arguments give equal weights.

    Parameters
    ----------
    network
        Changed in place. Parameters that need no gradient stay as they are.
    data
        Of the step's products.
    constraints
        Of further steps; none at the first. Projected updates want a weight decay of 0.
    seed
        Of batches, times, noise and which conditions have a defect; torch's generator is left
        alone.
    progress
        Told after every update.

    Raises
    ------
    CadEdgeError
        A loss is not a number.
    """
    free = [one for one in network.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(free, config.learning_rate, weight_decay=config.weight_decay)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(rate_at, config=config))
    network.train()
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for update, index in enumerate(_batches(len(data.clean), config)):
            loss = _loss(network, data, index, config)
            if constraints.exemplars is not None:
                loss = loss + constraints.exemplars.loss(network)
            if not bool(torch.isfinite(loss)):
                raise CadEdgeError(
                    f"the network cannot be learned: at update {update + 1} of {config.updates} "
                    f"the loss is not a number; try a learning_rate below {config.learning_rate:g}"
                )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if constraints.projected is None:
                optimiser.step()
            else:
                constraints.projected.step(optimiser)
            rate.step()
            progress("updates", update + 1, config.updates)
    network.eval()


def _loss(network: DiffusionNetwork, data: TrainingData, index: Tensor, config: Config) -> Tensor:
    """Eq. 12 of a batch (m,) int64: both losses, each with weight 1."""
    good = data.clean.at(index)
    clean = good.latents
    told = data.conditions(index, config.perturbed)
    added, _ = network.amn(jittered(told, config.jitter) if config.jitter else told)
    time, noise = torch.randint(STEPS, (len(index),)), torch.randn_like(clean)
    biases = network.unet.time_biases(time)
    predicted = network.unet(noised(clean, noise, time), biases, added)
    return diffusion_loss(predicted, clean, noise, config.prediction) + condition_loss(
        added, network.amn.local(good.told)
    )


def jittered(latents: Tensor, largest: float) -> Tensor:
    """Add Gaussian noise to latents (n, c, h, w), of each part by a deviation of its own.

    The deviation is drawn evenly from 0 to ``largest``. Without noise the condition may pass on all
    that it is told, defects included, and only drawn ones teach it not to; with it, what good parts
    have in common has to be known (You et al. 2022, arXiv 2206.03687, whose noise is by the norm of
    each token).
    """
    deviation = largest * torch.rand(len(latents), 1, 1, 1)
    return latents + deviation * torch.randn_like(latents)


def _batches(images: int, config: Config) -> Iterator[Tensor]:
    done = 0
    while done < config.updates:
        for index in torch.split(torch.randperm(images), config.batch):
            if done < config.updates:
                yield index
            done += 1
