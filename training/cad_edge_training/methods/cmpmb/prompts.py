"""Learning the visual prompts of a task by the structural contrastive loss (CMPMB Eq. 10-13)."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cad_edge.errors import OptionError
from cad_edge_training.backbones import Backbone
from cad_edge_training.learned import Progress
from cad_edge_training.methods.cmpmb.config import Config
from cad_edge_training.methods.cmpmb.contrastive import structural_contrastive_loss
from cad_edge_training.methods.cmpmb.regions import load_regions
from cad_edge_training.patch_features import as_patches, patch_features

GRADIENT_NORM = 1.0  # longest gradient of all prompts together
CACHE_BYTES = 512 * 2**20  # up to this much of the unprompted blocks' output is kept
STEM = -1  # the hidden state before block 0, where states are kept by block

States = dict[int, Tensor]


def learn_prompts(
    backbone: Backbone,
    images: NDArray[np.uint8],
    config: Config,
    seed: int,
    progress: Progress,
) -> dict[int, Tensor]:
    """Learn one prompt per block, from ``prompt_from_block`` to the deepest feature block.

    Later blocks get none, since they cannot change the features. Adam with a constant rate, a
    fixed number of epochs, the last one kept: nothing is chosen by looking at test images.

    Parameters
    ----------
    backbone
        Frozen; its weights get no gradient.
    images
        (n, height, width, 3) uint8 RGB at the backbone's size, good parts.
    config
        Options of the method.
    seed
        Of the start values and of the order of the images.
    progress
        Called with what is being done, how much is done and of how much.

    Returns
    -------
    dict
        Prompt float32 by block, each of the backbone's `prompt_shape`.

    Raises
    ------
    OptionError
        ``prompt_from_block`` lies behind the deepest feature block, or ``regions`` is unknown.
    """
    last = max(config.blocks)
    if config.prompt_from_block > last:
        raise OptionError(
            f"prompt_from_block={config.prompt_from_block} lies behind the last feature block "
            f"{last}; lower it, or set prompts=false"
        )
    generator = torch.Generator().manual_seed(seed)
    prompts = {
        block: initial_prompt(backbone.prompt_shape(block, config.prompt_length), generator)
        for block in range(config.prompt_from_block, last + 1)
    }
    early = EarlyStates(backbone, images, config)
    regions = region_ids(backbone, early.at(torch.arange(1)), images, config, progress)
    optimiser = torch.optim.Adam(prompts.values(), lr=config.learning_rate)
    for epoch in range(config.epochs):
        for batch in torch.randperm(len(images), generator=generator).split(config.batch_size):  # type: ignore[no-untyped-call]
            features = prompted_features(backbone, early.at(batch), prompts, config)
            loss = structural_contrastive_loss(
                features, regions[batch], config.temperature, config.contrastive_form
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(prompts.values(), GRADIENT_NORM)
            optimiser.step()
        progress("prompts", epoch + 1, config.epochs)
    return {block: prompt.detach() for block, prompt in prompts.items()}


def initial_prompt(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Start value with gradient.

    Prefix rows start from U(0, 1), as published: equal rows would stay equal. An additive vector
    starts from zero, the unprompted trunk: batch-normalised channels have a scale of about one, so
    that a random shift would leave nothing of what the trunk has learned.
    """
    if len(shape) == 1:
        return torch.zeros(shape, requires_grad=True)
    return torch.rand(shape, generator=generator).requires_grad_()


def prompted_features(
    backbone: Backbone, early: Mapping[int, Tensor], prompts: Mapping[int, Tensor], config: Config
) -> Tensor:
    """Patch features (batch, n_patches, channels) from the states before the first prompt.

    Parameters
    ----------
    early
        Hidden states by block, the one before ``prompt_from_block`` among them.
    """
    states = dict(early)
    for block in range(config.prompt_from_block, max(config.blocks) + 1):
        states[block] = backbone.block(block, states[block - 1], prompts.get(block))
    return as_patches(patch_features(backbone, states, config.blocks))


def region_ids(
    backbone: Backbone,
    early: Mapping[int, Tensor],
    images: NDArray[np.uint8],
    config: Config,
    progress: Progress,
) -> Tensor:
    """Region ids (n, n_patches) int64 of all images, at the grid that ``early`` leads to."""
    with torch.no_grad():
        states = dict(early)
        for block in range(config.prompt_from_block, max(config.blocks) + 1):
            states[block] = backbone.block(block, states[block - 1])
        grid = patch_features(backbone, states, config.blocks).shape[-2:]
    regions = load_regions(config.regions)
    ids = np.empty((len(images), grid[0] * grid[1]), np.int64)
    for index, image in enumerate(images):
        ids[index] = regions(image, (grid[0], grid[1])).ravel()
        progress("regions", index + 1, len(images))
    return torch.from_numpy(ids)


class EarlyStates:
    """Hidden states of the blocks without prompts, run once per image where memory allows."""

    def __init__(self, backbone: Backbone, images: NDArray[np.uint8], config: Config) -> None:
        self.backbone, self.images = backbone, images
        self.last = config.prompt_from_block - 1
        self.wanted = {self.last, *(block for block in config.blocks if block < self.last)}
        self.kept: States | None = None
        sample = self._run(torch.arange(min(1, len(images))))
        size = sum(state.numel() * state.element_size() for state in sample.values())
        if size * len(images) <= CACHE_BYTES:
            parts = [self._run(part) for part in torch.arange(len(images)).split(config.batch_size)]  # type: ignore[no-untyped-call]
            self.kept = {block: torch.cat([part[block] for part in parts]) for block in sample}

    def at(self, indices: Tensor) -> States:
        """States of the images ``indices`` (batch,) int64, by block; -1 is the stem."""
        if self.kept is None:
            return self._run(indices)
        return {block: state[indices] for block, state in self.kept.items()}

    @torch.no_grad()
    def _run(self, indices: Tensor) -> States:
        pixels = self.backbone.normalise(torch.from_numpy(self.images[indices.numpy()]))
        hidden = self.backbone.stem(pixels)
        states = {STEM: hidden} if self.wanted & {STEM} else {}
        for block in range(self.last + 1):
            hidden = self.backbone.block(block, hidden)
            if block in self.wanted:
                states[block] = hidden
        return states
