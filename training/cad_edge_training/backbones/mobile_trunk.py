"""What the EfficientNets share: a stem and mobile blocks under TensorFlow's "same" padding."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from cad_edge.data.image import ImageRecipe
from cad_edge.errors import OptionError
from cad_edge_training.backbones.backbone import Backbone

BN_EPSILON = 1e-3
STRIDES = (2, 4, 8, 16)

Activation = Callable[[Tensor], Tensor]


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: the odd pixel goes to the right and bottom."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        before_after = [
            edge
            for size, kernel, stride in zip(
                reversed(input.shape[-2:]),
                reversed(self.kernel_size),
                reversed(self.stride),
                strict=True,
            )
            for edge in _same_padding(int(size), kernel, stride)
        ]
        left, right, top, bottom = before_after
        if left == right and top == bottom:
            return functional.conv2d(
                input, self.weight, self.bias, self.stride, (top, left), 1, self.groups
            )
        padded = functional.pad(input, before_after)
        out: Tensor = functional.conv2d(
            padded, self.weight, self.bias, self.stride, 0, 1, self.groups
        )
        return out


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class BlockShape:
    """What a mobile block is like."""

    channels: int
    out: int
    expand: int
    """Width within the block, in channels."""
    kernel: int
    stride: int
    residual: bool

    @property
    def width(self) -> int:
        """Channels within the block."""
        return self.channels * self.expand


class MobileBlock(nn.Module):
    """Expand, depthwise, project, and the residual beside them."""

    def __init__(self, shape: BlockShape, activation: Activation) -> None:
        super().__init__()
        width, kernel = shape.width, shape.kernel
        self.activation, self.residual, self.expands = activation, shape.residual, shape.expand > 1
        if self.expands:
            self._expand_conv = SameConv(shape.channels, width, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(width, eps=BN_EPSILON)
        self._depthwise_conv = SameConv(
            width, width, kernel, shape.stride, groups=width, bias=False
        )
        self._bn1 = nn.BatchNorm2d(width, eps=BN_EPSILON)
        self._project_conv = SameConv(width, shape.out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(shape.out, eps=BN_EPSILON)

    @property
    def out(self) -> int:
        """Channels after the block."""
        return self._project_conv.out_channels

    @property
    def stride(self) -> int:
        """Of height and width alike."""
        return self._depthwise_conv.stride[0]

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (batch, channels, height, width) to (batch, out, height', width')."""
        inner = hidden
        if self.expands:
            inner = self.activation(self._bn0(self._expand_conv(inner)))
        inner = self.gate(self.activation(self._bn1(self._depthwise_conv(inner))))
        inner = self._bn2(self._project_conv(inner))
        out: Tensor = inner + hidden if self.residual else inner
        return out

    def gate(self, inner: Tensor) -> Tensor:
        """Weigh the channels of (batch, width, height', width'): here all alike."""
        return inner


class MobileTrunk(Backbone):
    """A stem that halves the image, and mobile blocks; hidden states are feature maps."""

    stage_ends: tuple[int, ...]
    """Last block of each of the stages with strides 2, 4, 8 and 16."""
    widths: list[int]
    """Channels after each block."""

    def __init__(
        self, stem_width: int, blocks: Sequence[MobileBlock], activation: Activation, size: int
    ) -> None:
        super().__init__()
        self.recipe = ImageRecipe(width=size, height=size)
        self.activation = activation
        self._conv_stem = SameConv(3, stem_width, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(stem_width, eps=BN_EPSILON)
        self._blocks = nn.ModuleList(blocks)
        self.n_blocks = len(blocks)
        self.widths = [block.out for block in blocks]
        self.stage_ends = _stage_ends(blocks)
        # Texture and small shapes: what recognises a product before anything deep is run.
        self.routing_blocks = self.stage_ends[1:3]

    def at_size(self, size: int) -> "MobileTrunk":
        """Return the same trunk for another size: convolutions do not know of it."""
        weights = (*self.parameters(), *self.buffers())
        other = copy.deepcopy(self, {id(weight): weight for weight in weights})
        other.recipe = ImageRecipe(width=size, height=size)
        return other

    def stem(self, pixels: Tensor) -> Tensor:
        """Convolve pixels to (batch, stem width, height / 2, width / 2)."""
        return self.activation(self._bn0(self._conv_stem(pixels)))

    def block(self, index: int, hidden: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Run one block; a prompt is added to every position of its input (CMPMB Eq. 10)."""
        if prompt is not None:
            hidden = hidden + prompt.reshape(1, -1, 1, 1)
        out: Tensor = self._blocks[index](hidden)
        return out

    def feature_map(self, hidden: Tensor) -> Tensor:
        """Hidden states are feature maps already."""
        return hidden

    def prompt_shape(self, index: int, length: int) -> tuple[int, ...]:
        """Return one vector as wide as the block's input; ``length`` does not apply."""
        return (self._conv_stem.out_channels if index == 0 else self.widths[index - 1],)


def _stage_ends(blocks: Sequence[MobileBlock]) -> tuple[int, ...]:
    """Last block of every stage that is named by its stride; the stem's is 2.

    Raises
    ------
    OptionError
        There is no block of one of the strides.
    """
    stride, last = 2, {}
    for index, block in enumerate(blocks):
        stride *= block.stride
        last[stride] = index
    missing = [one for one in STRIDES if one not in last]
    if missing:
        raise OptionError(
            f"the network has no stage of stride {missing[0]}; take one with stages of strides "
            "2, 4, 8 and 16, as every published EfficientNet has"
        )
    return tuple(last[one] for one in STRIDES)
