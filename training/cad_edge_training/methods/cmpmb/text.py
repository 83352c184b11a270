"""The text branch: one learned sentence describes what is normal (CMPMB Sec. 3.3, METHODS 2.2).

"a photo of a [class] with" and a few learned vectors go through the frozen text tower; the
distance of a patch to the sentence is 1 - cosine. The sentence itself does not travel: a task
keeps its feature.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cad_edge.errors import OptionError
from cad_edge_training.backbones import Backbone
from cad_edge_training.backbones.clip import ClipBackbone
from cad_edge_training.learned import Progress
from cad_edge_training.methods.cmpmb.config import Config, TextLoss
from cad_edge_training.methods.cmpmb.normalisation import anm

# While the sentence is learned, a patch at right angles to it is undecided.
LEARNING_SHIFT = 1.0
MAX_IMAGES = 256  # images that the sentence is learned from, drawn with the seed
NO_PROMPTS: Mapping[int, Tensor] = {}


def learn_text_prompt(
    backbone: Backbone,
    images: NDArray[np.uint8],
    config: Config,
    seed: int,
    progress: Progress,
    prompts: Mapping[int, Tensor] = NO_PROMPTS,
) -> Tensor:
    """Learn the sentence of a task.

    Eq. 7: the mean over the patches of ANM(S_T) is to be 0 for good parts and 1 for the same images
    plus noise N(0, 1) on the normalised tensor (Eq. 8-9), which is drawn anew for every step.

    Parameters
    ----------
    backbone
        Frozen, with a text tower.
    images
        (n, height, width, 3) uint8 RGB at the backbone's size, good parts.
    config
        Options of the method; ``class_name`` says what the product is.
    seed
        Of the start values N(0, 1), the noise and the order of the images.
    progress
        Called with what is being done, how much is done and of how much.
    prompts
        Visual prompts by block, under which the patches are seen.

    Returns
    -------
    Tensor
        (text_width,) float32 of length 1: the feature of the end token.

    Raises
    ------
    OptionError
        The backbone has no text tower, cannot read the words, or they are too many.
    """
    tower = with_text(backbone)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images), generator=generator)[:MAX_IMAGES].sort().values
    shown = images[chosen.numpy()]
    good = _good_patches(tower, shown, config, prompts, progress)
    with torch.no_grad():
        words = tower.embed_text(sentence(config.class_name))
    vectors = torch.randn(config.text_vectors, words.shape[1], generator=generator)
    vectors.requires_grad_()
    optimiser = torch.optim.Adam([vectors], lr=config.text_learning_rate)
    for epoch in range(config.text_epochs):
        for batch in torch.randperm(len(chosen), generator=generator).split(config.batch_size):  # type: ignore[no-untyped-call]
            pixels = tower.normalise(torch.from_numpy(shown[batch.numpy()]))
            noise = torch.randn(pixels.shape, generator=generator)
            noisy = _seen(tower, pixels + noise, config, prompts)
            patches = torch.stack((good[batch], noisy), dim=1)
            feature = sentence_feature(tower, words, vectors)
            loss = text_loss(patches, feature, config.slope, config.text_loss)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        progress("text prompt", epoch + 1, config.text_epochs)
    with torch.no_grad():
        return sentence_feature(tower, words, vectors)


def text_map(
    backbone: Backbone, states: Mapping[int, Tensor], feature: Tensor, config: Config
) -> Tensor:
    """S_T = 1 - cosine between every projected patch and the sentence.

    Parameters
    ----------
    states
        Hidden states by block, the deepest of ``config.blocks`` among them. With
        ``text_layer="last"`` the blocks behind the deepest state are run here, without prompts.
    feature
        (text_width,) of length 1, from `learn_text_prompt`.

    Returns
    -------
    Tensor
        (batch, grid height, grid width) in [0, 2].
    """
    tower = with_text(backbone)
    patches, grid = _projected(tower, states, config)
    return (1 - patches @ feature).reshape(-1, grid[0], grid[1])


def sentence(class_name: str) -> str:
    """Return the fixed words; a task's name may have underscores or hyphens for spaces."""
    return f"a photo of a {class_name.replace('_', ' ').replace('-', ' ')} with"


def sentence_feature(tower: ClipBackbone, words: Tensor, vectors: Tensor) -> Tensor:
    """Feature (text_width,) of length 1 of words (n, width) with vectors (m, width) at their end.

    The vectors go before the end token, whose feature sums up what stands before it.
    """
    tokens = torch.cat((words[:-1], vectors, words[-1:]))
    return functional.normalize(tower.encode_text_embeddings(tokens[None])[0], dim=0)


def text_loss(
    patches: Tensor, feature: Tensor, slope: float, form: TextLoss = "squared_error"
) -> Tensor:
    """Mean of (x_i - y_i)^2 (Eq. 7), or the binary cross-entropy of answer x_i and label y_i.

    Parameters
    ----------
    patches
        (batch, 2, n_patches, text_width), each of length 1: good (label 0), then noisy (1).
    feature
        (text_width,) of length 1.
    slope
        k of the sigmoid.
    form
        Which of the two.
    """
    answer = anm(1 - patches @ feature, LEARNING_SHIFT, slope).mean(dim=2)
    label = torch.tensor([0.0, 1.0]).expand_as(answer)
    if form == "squared_error":
        return functional.mse_loss(answer, label)
    return functional.binary_cross_entropy(answer, label)


def with_text(backbone: Backbone) -> ClipBackbone:
    """Return the backbone as one with a text tower, or raise OptionError."""
    if not isinstance(backbone, ClipBackbone):
        raise OptionError(
            f"{backbone.identity.id} has no text tower; set text=false, or take clip:ID"
        )
    return backbone


def _projected(
    tower: ClipBackbone, states: Mapping[int, Tensor], config: Config
) -> tuple[Tensor, tuple[int, int]]:
    """Patches (batch, n_patches, text_width) of length 1 in the joint space, and their grid."""
    deepest = max(states)
    hidden = states[max(config.blocks)]
    if config.text_layer == "last":
        hidden = states[deepest]
        for block in range(deepest + 1, tower.n_blocks):
            hidden = tower.block(block, hidden)
    features = tower.feature_map(hidden)
    patches = tower.project(features.flatten(2).transpose(1, 2))
    return functional.normalize(patches, dim=-1), (features.shape[2], features.shape[3])


@torch.no_grad()
def _good_patches(
    tower: ClipBackbone,
    images: NDArray[np.uint8],
    config: Config,
    prompts: Mapping[int, Tensor],
    progress: Progress,
) -> Tensor:
    """Patches (n, n_patches, text_width) of length 1; the same in every step."""
    parts = []
    for start in range(0, len(images), config.batch_size):
        batch = torch.from_numpy(images[start : start + config.batch_size])
        parts.append(_seen(tower, tower.normalise(batch), config, prompts))
        progress("text features", start + len(batch), len(images))
    return torch.cat(parts)


@torch.no_grad()
def _seen(
    tower: ClipBackbone, pixels: Tensor, config: Config, prompts: Mapping[int, Tensor]
) -> Tensor:
    """Patches (batch, n_patches, text_width) of length 1 of normalised images."""
    return _projected(tower, tower.run(pixels, max(config.blocks), prompts), config)[0]
