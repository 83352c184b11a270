"""What CLIP and DINOv2 share: a pre-norm vision transformer whose attention takes prefixes.

A prompt is prefix tuning as UCAD's code does it (Liu et al., AAAI 2024; CMPMB, arXiv 2603.21562,
Algorithm 1): raw rows, not projected, stand before the keys and the values of every head. Tokens
can look at them, but they are no tokens themselves, so the number of tokens never changes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import OptionError
from cad_edge_training.backbones.backbone import Backbone


class LayerNames(NamedTuple):
    """Where a transformers layer keeps its parts, as dotted submodule names."""

    norm1: str
    query: str
    key: str
    value: str
    out: str
    norm2: str
    mlp: str
    scale1: str = ""
    """Parameter that scales the attention branch per channel; empty if there is none."""
    scale2: str = ""


class TransformerBlock(nn.Module):
    """Attention and perceptron of one layer, each after a layer norm and beside a residual."""

    scale1: Tensor | None
    scale2: Tensor | None

    def __init__(
        self, layer: nn.Module, names: LayerNames, heads: int, causal: bool = False
    ) -> None:
        """Take apart ``layer``; its parameters are shared, not copied."""
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.norm1 = layer.get_submodule(names.norm1)
        self.query = layer.get_submodule(names.query)
        self.key = layer.get_submodule(names.key)
        self.value = layer.get_submodule(names.value)
        self.out = layer.get_submodule(names.out)
        self.norm2 = layer.get_submodule(names.norm2)
        self.mlp = layer.get_submodule(names.mlp)
        for own, name in (("scale1", names.scale1), ("scale2", names.scale2)):
            self.register_parameter(own, layer.get_parameter(name) if name else None)

    def forward(self, hidden: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Map hidden (batch, tokens, width); prompt (2, length, width): keys, then values."""
        attended = self.attend(self.norm1(hidden), prompt)
        hidden = hidden + (attended if self.scale1 is None else attended * self.scale1)
        changed: Tensor = self.mlp(self.norm2(hidden))
        return hidden + (changed if self.scale2 is None else changed * self.scale2)

    def attend(self, normed: Tensor, prompt: Tensor | None) -> Tensor:
        """Multi-head attention over (batch, tokens, width), prefixed by the rows of ``prompt``."""
        query = self._split(self.query(normed))
        key = self._split(self.key(normed))
        value = self._split(self.value(normed))
        if prompt is not None:
            rows = self._split(prompt)  # (2, heads, length, head width)
            key = torch.cat((rows[:1].expand(key.shape[0], -1, -1, -1), key), dim=2)
            value = torch.cat((rows[1:].expand(value.shape[0], -1, -1, -1), value), dim=2)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, rows: Tensor) -> Tensor:
        """Split (batch, rows, width) into (batch, heads, rows, head width)."""
        return rows.reshape(rows.shape[0], rows.shape[1], self.heads, -1).transpose(1, 2)


class VisionTransformer(Backbone):
    """A frozen image tower for square input of a fixed size.

    The hidden state is (batch, 1 + registers + patches, width): class token, registers, patches.
    """

    # One block, since a transformer is as wide at the start as at the end: 768 means and
    # deviations of one block are 1,536 numbers already, and their covariance grows with the
    # square. The third block sees texture and little position, and lets prompts from block 3 on
    # share the pass with the selector.
    routing_blocks = (2,)

    pixel_scale: Tensor
    pixel_offset: Tensor
    position: Tensor
    registers: Tensor | None

    def __init__(
        self,
        patch: nn.Module,
        class_token: Tensor,
        position: Tensor,
        norm: nn.Module,
        blocks: Sequence[TransformerBlock],
        registers: Tensor | None = None,
    ) -> None:
        """Assemble the tower.

        Parameters
        ----------
        patch
            Convolution from (batch, 3, height, width) to (batch, width, grid, grid).
        class_token, registers
            (width,) and (registers, width).
        position
            (1 + patches, width) for the class token and the patches of a square grid.
        norm
            Layer norm before block 0, or identity.
        blocks
            All layers of the tower.
        """
        super().__init__()
        self.patch = patch
        self.class_token = nn.Parameter(class_token)
        self.position = nn.Parameter(position)
        self.registers = None if registers is None else nn.Parameter(registers)
        self.norm = norm
        self.blocks = nn.ModuleList(blocks)
        self.n_blocks = len(blocks)
        self.width = class_token.shape[0]
        self.first_patch = 1 if registers is None else 1 + len(registers)
        self.grid = 0

    def set_normalisation(
        self, mean: tuple[float, float, float], deviation: tuple[float, float, float]
    ) -> None:
        """Set mean and deviation of the training images, red, green, blue in [0, 1]."""
        scale = 1 / (255 * torch.tensor(deviation, dtype=torch.float64))
        offset = -torch.tensor(mean, dtype=torch.float64) * 255 * scale
        self.register_buffer("pixel_scale", scale.float().reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_offset", offset.float().reshape(1, 3, 1, 1), persistent=False)

    def fix_size(self, size: int, patch_size: int, antialias: bool = False) -> None:
        """Resample the position embeddings for ``size`` pixels, once and bicubically.

        Raises
        ------
        OptionError
            ``size`` is no multiple of ``patch_size``.
        """
        if size % patch_size or size <= 0:
            raise OptionError(
                f"size {size} does not fit a backbone with patches of {patch_size} px; "
                f"take a multiple, for example {max(1, round(size / patch_size)) * patch_size}"
            )
        self.recipe = ImageRecipe(width=size, height=size)
        self.grid = size // patch_size
        self.position = nn.Parameter(
            _resampled(self.position.detach(), self.grid, antialias), requires_grad=False
        )

    def normalise(self, image: Tensor) -> Tensor:
        """Map uint8 RGB to (x / 255 - mean) / deviation."""
        pixels = image.to(torch.float32).permute(0, 3, 1, 2)
        return pixels * self.pixel_scale + self.pixel_offset

    def stem(self, pixels: Tensor) -> Tensor:
        """Embed patches, add positions, put class token and registers before them."""
        patches = self.patch(pixels).flatten(2).transpose(1, 2) + self.position[1:]
        front = (self.class_token + self.position[0]).reshape(1, 1, -1)
        if self.registers is not None:
            front = torch.cat((front, self.registers.unsqueeze(0)), dim=1)
        tokens = torch.cat((front.expand(patches.shape[0], -1, -1), patches), dim=1)
        hidden: Tensor = self.norm(tokens)
        return hidden

    def block(self, index: int, hidden: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Run one block on (batch, tokens, width); prompt (2, length, width): keys, then values."""
        out: Tensor = self.blocks[index](hidden, prompt)
        return out

    def feature_map(self, hidden: Tensor) -> Tensor:
        """Drop class token and registers: (batch, width, grid, grid)."""
        patches = hidden[:, self.first_patch :].transpose(1, 2)
        return patches.reshape(-1, self.width, self.grid, self.grid)

    def prompt_shape(self, index: int, length: int) -> tuple[int, ...]:
        """Return ``length`` rows of keys and of values."""
        return (2, length, self.width)


def _resampled(position: Tensor, grid: int, antialias: bool) -> Tensor:
    """Position embeddings (1 + old * old, width) as (1 + grid * grid, width)."""
    old = round((len(position) - 1) ** 0.5)
    if old == grid:
        return position
    square = position[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = functional.interpolate(
        square, size=(grid, grid), mode="bicubic", align_corners=False, antialias=antialias
    )
    return torch.cat((position[:1], resized.flatten(2)[0].T))
