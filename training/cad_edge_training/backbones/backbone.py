"""What every backbone offers: a stem, numbered blocks, and feature maps between them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import OptionError
from cad_edge.store.artifact import BackboneIdentity


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes of all tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


class Backbone(nn.Module, ABC):
    """A frozen network, run block by block so that prompts can enter and features leave anywhere.

    ``hidden`` is whatever travels between blocks: (batch, channels, height, width) in a
    convolutional network, (batch, tokens, width) in a vision transformer.
    """

    identity: BackboneIdentity
    recipe: ImageRecipe
    n_blocks: int
    routing_blocks: tuple[int, ...]
    """Early blocks whose channel statistics recognise the product."""
    text_width: int | None = None
    """Width of the joint image and text space, where there is a text tower."""

    @abstractmethod
    def normalise(self, image: Tensor) -> Tensor:
        """Turn image (batch, height, width, 3) uint8 RGB into pixels (batch, 3, height, width)."""

    @abstractmethod
    def stem(self, pixels: Tensor) -> Tensor:
        """Turn pixels (batch, 3, height, width) float32 into the hidden state before block 0."""

    @abstractmethod
    def block(self, index: int, hidden: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Run block ``index`` on ``hidden``, with the prompt of that block if there is one."""

    @abstractmethod
    def feature_map(self, hidden: Tensor) -> Tensor:
        """Features (batch, channels, grid height, grid width) float32 of a hidden state."""

    @abstractmethod
    def prompt_shape(self, index: int, length: int) -> tuple[int, ...]:
        """Shape of the prompt of block ``index``; ``length`` rows of keys where it has rows."""

    def at_size(self, size: int) -> "Backbone":
        """Return the same network, sharing its weights, for square input of ``size`` pixels.

        Raises
        ------
        OptionError
            What it computes depends on a size that is settled when it is loaded.
        """
        raise OptionError(
            f"{self.identity.id} cannot take another input size for each product; give --size a "
            f"number of pixels, such as its own {self.recipe.width}"
        )

    def run(
        self, pixels: Tensor, last: int, prompts: Mapping[int, Tensor] | None = None
    ) -> dict[int, Tensor]:
        """Hidden states after blocks 0..last.

        Parameters
        ----------
        pixels
            (batch, 3, height, width) float32, from `normalise`.
        last
            Deepest block to run.
        prompts
            Prompt per block; blocks that are not named run without.
        """
        if last >= self.n_blocks:
            raise OptionError(
                f"block {last} is not in {self.identity.id}, whose blocks are "
                f"0..{self.n_blocks - 1}"
            )
        prompts = prompts or {}
        hidden, states = self.stem(pixels), {}
        for index in range(last + 1):
            hidden = states[index] = self.block(index, hidden, prompts.get(index))
        return states

    def freeze(self) -> None:
        """Switch to inference for good: no gradient, no running statistics."""
        self.requires_grad_(False)
        self.eval()


def channel_statistics(features: Tensor) -> Tensor:
    """Mean and deviation of every channel.

    Parameters
    ----------
    features
        (batch, channels, height, width) float32.

    Returns
    -------
    Tensor
        (batch, 2 * channels): means, then population standard deviations.
    """
    mean = features.mean(dim=(2, 3))
    centred = features - mean[:, :, None, None]
    deviation = torch.sqrt((centred * centred).mean(dim=(2, 3)) + 1e-12)
    return torch.cat((mean, deviation), dim=1)
